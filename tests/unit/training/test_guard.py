"""keras_prelu.training.guard and fallbacks: no training that diverges loses a fine-tuning."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.samples import as_samples
from keras_prelu.training import trainer as trainer_module
from keras_prelu.training.guard import (
    DivergedTrainingError,
    DivergenceGuard,
    largest_sound_loss,
)
from keras_prelu.training.result import FineTuning

FAR_TOO_FAST = {"optimizer": keras.optimizers.SGD(0.05), "slope_multiplier": 1e9}


@pytest.mark.slow
@pytest.mark.backends
def test_slopes_that_diverge_learn_at_a_safe_rate_instead(original, digits):
    result = kp.finetune(original, *digits, recipe="identity", epochs=2, **FAR_TOO_FAST)
    (fallback,) = result.fallbacks
    assert fallback.training == "PReLU"
    assert fallback.multiplier == 1e9
    assert fallback.instead == "slopes at 0.1 times the rate"
    assert result.recipe == "identity"
    assert result.slope_multiplier == result.model.optimizer.multiplier == 0.1
    assert all(np.isfinite(weights).all() for weights in result.model.get_weights())
    assert "with slopes at 1e+09 times the rate diverged (its loss" in result.verdict
    assert "trained with slopes at 0.1 times the rate instead" in result.verdict
    plain = kp.finetune(
        original,
        *digits,
        recipe="identity",
        epochs=2,
        optimizer=FAR_TOO_FAST["optimizer"],
        slope_multiplier=0.1,
    )
    assert result.prelu.history == plain.prelu.history
    assert plain.fallbacks == ()


@pytest.mark.parametrize("given", ["recipe", "converted"])
def test_where_no_rate_of_slopes_works_the_relu_model_is_the_result(
    given, original, digits, monkeypatch
):
    diverge_where(monkeypatch, lambda model: kp.diagnostics.layer_slopes(model))
    model, settings = original, {"recipe": "identity"}
    if given == "converted":
        model, settings = kp.convert(original), {"original": original}
    result = kp.finetune(model, *digits, epochs=1, **settings)
    assert [each.multiplier for each in result.fallbacks] == [10.0, 1.0]
    assert [each.instead for each in result.fallbacks][-1] == "the ReLU model"
    assert result.recipe == "relu"
    assert result.control is result.prelu
    assert result.slopes_after == ()
    assert "Keep ReLU, or lower the learning rate." in result.verdict


def test_a_control_that_diverges_is_left_out(original, digits, monkeypatch):
    diverge_where(monkeypatch, lambda model: not kp.diagnostics.layer_slopes(model))
    result = kp.finetune(original, *digits, recipe="identity-revived", epochs=1)
    assert [each.training for each in result.fallbacks] == [
        "the ReLU control",
        "the ReLU control that is prepared alike",
    ]
    assert result.control is result.comparison is result.prepared_control is None
    assert result.best in ("model", "incoming")
    assert "a lower learning rate may suit all models better" in result.verdict
    assert "No control was trained" in result.verdict


def diverge_where(monkeypatch, condition):
    train = trainer_module.train_and_score

    def diverging(model, *arguments, **names):
        if condition(model):
            raise DivergedTrainingError(model.name, "its loss was not finite in epoch 1")
        return train(model, *arguments, **names)

    monkeypatch.setattr(trainer_module, "train_and_score", diverging)


def test_where_everything_diverges_the_error_names_the_learning_rate(original, digits):
    with pytest.raises(kp.errors.FineTuningError, match=r"whatever its slopes.*learning rate"):
        kp.finetune(
            original, *digits, recipe="identity", epochs=2, optimizer=keras.optimizers.SGD(1e20)
        )


class Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


@pytest.mark.backends
def test_a_training_is_stopped_at_once(original, digits):
    guard, counter = DivergenceGuard(limit=math.inf), Batches()
    model = keras.models.clone_model(original)
    model.compile(keras.optimizers.SGD(1e30), original.loss)
    model.fit(
        digits[0].x, digits[0].y, batch_size=4, epochs=3, verbose=0, callbacks=[guard, counter]
    )
    assert guard.reason == "its loss was not finite in epoch 1"
    assert counter.count < 40  # batches in an epoch


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([1.0, 4.9, 5.0], ""),
        ([1.0, 5.1, 1.0], "its loss exploded in epoch 2"),
        ([1.0, 1.0, math.nan], "its loss was not finite in epoch 3"),
        ([math.inf], "its loss was not finite in epoch 1"),
    ],
)
def test_the_limit(losses, reason):
    guard = DivergenceGuard(limit=5.0)
    guard.set_model(keras.Sequential())
    for epoch, loss in enumerate(losses):
        guard.on_epoch_begin(epoch)
        guard.on_epoch_end(epoch, {"loss": loss})
    assert guard.reason == reason
    assert getattr(guard.model, "stop_training", False) == bool(reason)


def test_the_limit_is_a_multiple_of_the_loss_for_wrong_labels(original, converted, digits):
    """A network that returns x has, for labels x and normal x, a loss of 2 for wrong labels."""
    x = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
    model = keras.Sequential(
        [keras.Input((4,)), kp.PReLU(1.0, parameterization="identity")], name="copies"
    )
    model.compile("sgd", "mse")
    data = as_samples((x, x), model=model)
    assert largest_sound_loss(model, data, 32, 0) == pytest.approx(200.0, rel=0.15)
    offset = as_samples((x, x + 30.0), model=model)  # The right labels are as far away.
    assert largest_sound_loss(model, offset, 32, 0) == pytest.approx(100.0 * 900.0, rel=0.05)
    assert largest_sound_loss(original, as_samples(digits[0], model=original), 32, 0) == math.inf


@pytest.mark.slow
@pytest.mark.backends
def test_a_training_that_diverged_diverges_again_when_it_is_continued(original, digits, tmp_path):
    def tuned(folder):
        return kp.finetune(
            original, *digits, recipe="identity", epochs=2, checkpoints=folder, **FAR_TOO_FAST
        )

    first = tuned(tmp_path / "states")
    # As after an interruption of the last of these trainings.
    assert not (tmp_path / "states" / "model.npz").exists()
    (tmp_path / "states" / "model_1.npz").unlink()
    again = tuned(tmp_path / "states")
    assert again.fallbacks == first.fallbacks
    for one, other in zip(again.model.get_weights(), first.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_fallbacks_are_in_the_record(original, digits):
    result = kp.finetune(original, *digits, recipe="identity", epochs=1, **FAR_TOO_FAST)
    from keras_prelu.cli.console import to_json

    assert '"instead": "slopes at 0.1 times the rate"' in to_json(result)
    assert isinstance(result, FineTuning)
    assert replace(result, fallbacks=()).verdict in result.verdict


@pytest.mark.backends
def test_the_guard_stops_a_training_without_touching_its_state():
    """Keras calls it beside the steps, on a thread of its own; writing the state of a JAX training
    back to the model there would leave the model with arrays that the next step frees."""

    class Model(keras.Sequential):
        def jax_state_sync(self):
            raise AssertionError("the state of the training was written back beside a step")

    model = Model([keras.Input((2,)), keras.layers.Dense(1)])
    guard = DivergenceGuard(1.0)
    guard.set_model(model)
    guard.on_epoch_begin(0)
    guard.on_train_batch_end(0, {"loss": math.nan})
    assert model.stop_training
    assert guard.reason == "its loss was not finite in epoch 1"
