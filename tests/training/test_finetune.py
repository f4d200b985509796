"""keras_prelu.training.finetune: both runs, their budget, and the verdict."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training.batches import ShuffledBatches
from tests import models

L = keras.layers


@pytest.fixture(scope="module")
def digits():
    data = kp.data.load("digits", input_shape=(64,))
    return data.train.take(slice(0, 400)), data.test.take(slice(0, 200))


@pytest.fixture
def original():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), L.Dense(16, activation="relu", name="hidden"), L.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


@pytest.fixture
def converted(original, digits):
    return kp.convert(original, calibration_data=digits[0].x)


def test_both_models_are_trained_and_neither_given_one_changes(converted, original, digits):
    before = [model.get_weights() for model in (converted, original)]
    result = kp.finetune(converted, original, *digits, epochs=3, batch_size=8)
    for model, weights in zip((converted, original), before, strict=True):
        for old, new in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    for run in (result.prelu, result.control):
        assert run.score_after > run.score_before + 0.2
        assert len(run.history["val_accuracy"]) == 3
        np.testing.assert_allclose(run.history["val_accuracy"][-1], run.score_after, atol=1e-6)
        assert [site.units for site in run.dead_before] == [site.units for site in run.dead_after] == [16]
    assert result.model is result.prelu.model
    assert result.slopes_before[0].mean == pytest.approx(0.25)
    assert result.slopes_after[0].mean != result.slopes_before[0].mean
    assert result.comparison.a == result.prelu.score_after
    assert result.comparison.b == result.control.score_after


def test_the_same_seed_gives_the_same_result(converted, original, digits):
    first, second = (kp.finetune(converted, original, *digits, epochs=2, seed=5) for _ in range(2))
    assert first.prelu.history == second.prelu.history
    assert first.control.history == second.control.history


def test_a_control_that_is_the_same_is_never_beaten(original, digits):
    result = kp.finetune(original, original, *digits, epochs=2)
    assert result.prelu.history == result.control.history  # same data order, schedule and steps
    assert result.comparison.verdict == "no difference shown"
    assert "better" not in result.verdict


def test_without_control(converted, digits):
    result = kp.finetune(converted, None, *digits, epochs=1, control=False)
    assert result.control is None
    assert result.comparison is None
    assert "nothing can be said" in result.verdict


def test_the_users_own_settings(converted, original, digits):
    class Count(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            Count.epochs += 1

    train, validation = ((part.x, part.y) for part in digits)
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.1)
    result = kp.finetune(
        converted,
        original,
        train,
        validation,
        epochs=2,
        optimizer=optimizer,
        slope_multiplier=3.0,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")],
        callbacks=[Count()],
    )
    assert Count.epochs == 4
    assert set(result.prelu.history) == {"loss", "top3", "val_loss", "val_top3"}
    assert result.prelu.model.optimizer.multiplier == 3.0
    assert result.prelu.model.optimizer.slope_optimizer.weight_decay == 0.0
    assert isinstance(result.control.model.optimizer, keras.optimizers.AdamW)
    assert not optimizer.built  # copies were used


def test_a_stream_of_batches(converted, original, digits):
    train, validation = digits
    result = kp.finetune(converted, original, ShuffledBatches(train, 50, seed=1), validation, epochs=2)
    assert result.prelu.score_after > result.prelu.score_before


def test_regression(digits):
    model = models.live_in(models.mlp())
    x = models.samples(model, 200)
    y = np.tanh(x[:, :3])
    converted = kp.convert(model, calibration_data=x)
    result = kp.finetune(converted, model, (x[:150], y[:150]), (x[150:], y[150:]), epochs=3, loss="mse")
    assert result.comparison.metric == "loss"
    assert result.prelu.score_after < result.prelu.score_before


def test_a_loss_that_explodes_is_an_error(converted, digits):
    with pytest.raises(kp.KerasPReLUError, match="Lower the learning rate"):
        kp.finetune(converted, None, *digits, epochs=6, optimizer=keras.optimizers.SGD(1e20), control=False)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"optimizer": "adam", "learning_rate": 0.1}, "learning_rate"),
        ({"slope_multiplier": 0.0}, "multiplier"),
        ({"original": None}, "original"),
    ],
)
def test_bad_arguments(converted, original, digits, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.finetune(converted, kwargs.pop("original", original), *digits, **{"epochs": 1, **kwargs})


def test_bad_data(converted, original, digits):
    train, validation = digits
    unlabelled = kp.data.Samples(train.x)
    with pytest.raises(kp.KerasPReLUError, match="training samples must be"):
        kp.finetune(converted, original, unlabelled, validation)
    with pytest.raises(kp.KerasPReLUError, match="validation samples must be"):
        kp.finetune(converted, original, train, validation.x)
    with pytest.raises(kp.KerasPReLUError, match="are 400, their labels 3"):
        kp.finetune(converted, original, (train.x, train.y[:3]), validation)
    with pytest.raises(kp.KerasPReLUError, match=r"validation samples have shape \(200, 8\)"):
        kp.finetune(converted, original, train, (validation.x[:, :8], validation.y))


def test_a_model_without_a_loss(converted, original, digits):
    bare = kp.convert(keras.Sequential([keras.Input((64,)), L.Dense(4, activation="relu"), L.Dense(10)]), rescale="none")
    with pytest.raises(ValueError, match="give `loss`"):
        kp.finetune(bare, None, *digits, control=False)


def test_batches_have_an_order_of_the_seed_alone():
    samples = kp.data.Samples(np.arange(10), np.arange(10))
    first, second, other = (ShuffledBatches(samples, 4, seed) for seed in (0, 0, 1))
    for _ in range(2):
        orders = [np.concatenate([batches[i][0] for i in range(len(batches))]) for batches in (first, second, other)]
        np.testing.assert_array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], orders[2])
        assert sorted(orders[0]) == list(range(10))
        for batches in (first, second, other):
            batches.on_epoch_end()
