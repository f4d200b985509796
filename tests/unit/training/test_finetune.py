"""keras_prelu.training.finetune: both trainings, their budget, and the verdict."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.arrays import check_finite
from keras_prelu.training.candidates import candidates
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.preparation import PREPARATIONS
from tests.helpers import models
from tests.unit.training.conftest import network

L = keras.layers
FAST = {"batch_size": 16, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def tuned(converted, original, digits):
    before = [model.get_weights() for model in (converted, original)]
    result = kp.finetune(
        converted, *digits, original=original, epochs=3, slope_multiplier=2.0, seed=5, **FAST
    )
    for model, weights in zip((converted, original), before, strict=True):
        for old, new in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)  # the given models do not change
    return result


def test_both_models_are_trained(tuned):
    for trained in (tuned.prelu, tuned.control):
        assert trained.score_after > trained.score_before + 0.2
        assert len(trained.history["val_accuracy"]) == 3
        np.testing.assert_allclose(
            trained.history["val_accuracy"][-1], trained.score_after, atol=1e-6
        )
        assert (
            [site.units for site in trained.dead_before]
            == [site.units for site in trained.dead_after]
            == [16]
        )
    assert tuned.model is tuned.prelu.model
    assert tuned.recipe == ""
    assert tuned.slopes_before[0].mean == pytest.approx(0.25)
    assert tuned.slopes_after[0].mean != tuned.slopes_before[0].mean
    assert tuned.comparison.a == tuned.prelu.score_after == tuned.scores.mean()
    assert tuned.comparison.b == tuned.control.score_after == tuned.control_scores.mean()


def test_the_same_seed_and_settings_given_as_objects_give_the_same_result(
    tuned, converted, original, digits
):
    again = kp.finetune(
        converted,
        *digits,
        original=original,
        fit=kp.FitConfig(epochs=3, seed=5, **FAST),
        slopes=kp.SlopeConfig(multiplier=2.0),
    )
    assert tuned.prelu.history == again.prelu.history
    assert tuned.control.history == again.control.history


def test_settings_given_both_ways_are_refused(converted, digits):
    with pytest.raises(ValueError, match=r"both ways: `epochs` beside `fit`.*FitConfig\(epochs=…"):
        kp.finetune(converted, *digits, control=False, epochs=1, fit=kp.FitConfig())
    with pytest.raises(ValueError, match="both ways: `slope_multiplier` beside `slopes`"):
        kp.finetune(
            converted, *digits, control=False, slope_multiplier=2.0, slopes=kp.SlopeConfig()
        )


def test_the_order_of_arguments_of_before_is_refused_with_the_new_one(converted, original, digits):
    new = r"finetune\(model, train, validation, original=original\)"
    with pytest.raises(kp.errors.InvalidArgumentError, match=new):
        kp.finetune(converted, original, *digits)
    with pytest.raises(kp.errors.InvalidArgumentError, match=new):
        kp.finetune(converted, None, *digits, control=False)
    with pytest.raises(kp.errors.InvalidArgumentError, match="train of type Sequential"):
        kp.finetune(converted, original, digits[0])


def test_a_control_that_is_the_same_is_never_beaten(original, digits):
    result = kp.finetune(original, *digits, original=original, epochs=1)
    assert result.prelu.history == result.control.history  # same data order, schedule and steps
    assert result.comparison.verdict == "can't tell"  # of 80 samples
    assert result.comparison.gain == 0.0
    assert "better" not in result.verdict
    assert "revived" not in result.verdict


def test_what_came_in_is_kept_where_fine_tuning_made_both_networks_worse(digits):
    train, _ = digits
    original = network()
    original.fit(train.x, train.y, epochs=40, verbose=0)
    good = kp.finetune(original, *digits, recipe="identity", epochs=1, learning_rate=1e-5)
    assert (good.best, good.is_worse_than_incoming) == ("model", False)
    assert "that came in" not in good.verdict
    too_fast = {"recipe": "identity", "epochs": 1, "learning_rate": 2.0, "slope_multiplier": 0.1}
    bad = kp.finetune(original, *digits, **too_fast)
    assert bad.fallbacks == ()
    assert bad.best == "incoming"
    assert bad.is_worse_than_incoming
    before, control = bad.incoming_comparison, bad.control_incoming_comparison
    assert before.verdict == control.verdict == "worse"
    assert before.b == control.b == bad.control.score_before
    assert (
        "The fine-tuned PReLU model is worse than the model that came in: accuracy" in bad.verdict
    )
    assert "The fine-tuned ReLU control is worse than the model that came in" in bad.verdict
    assert "made both networks worse: keep the model that came in" in bad.verdict
    alone = kp.finetune(original, *digits, control=False, **too_fast)
    assert alone.best == "incoming"
    assert "made the network worse: keep the model that came in" in alone.verdict


def test_the_better_one_of_the_models_that_came_in_counts(digits):
    train, test = digits
    good, poor = network(), network()
    good.fit(train.x, train.y, epochs=40, verbose=0)
    converted = kp.convert(good, alpha=0.0, parameterization="identity", rescale="none")
    settings = {"epochs": 1, "learning_rate": 1e-5, "control": False}
    for original, expected in ((good, "original"), (poor, "model")):
        result = kp.finetune(converted, train, test, original=original, **settings)
        assert result.incoming == expected
        assert result.control is None
        accuracy = np.mean(converted.predict(test.x, verbose=0).argmax(-1) == test.y)
        assert result.incoming_comparison.b == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("against_control", "against_incoming", "control_against_incoming", "best", "advice"),
    [
        ("better", "better", "better", "model", "Keep M: it is better than I and than C."),
        (
            "can't tell",
            "can't tell",
            "can't tell",
            "model",
            "Keep I: the samples do not show that M is better.",
        ),
        (
            "better",
            "as good",
            "worse",
            "model",
            "Keep I: M is as good, and no better.",
        ),
        (
            "better",
            "mixed",
            "better",
            "model",
            "Keep I: M is better by some of the metrics, and worse by others.",
        ),
        (
            "as good",
            "better",
            "better",
            "model",
            "Keep C, which costs less than M: both are better than I, and the two are as good as"
            " each other.",
        ),
        (
            "can't tell",
            "better",
            "can't tell",
            "model",
            "Keep M: it is better than I, which is not shown of C.",
        ),
        ("worse", "better", "better", "control", "Keep C: it is better than M."),
        ("worse", "worse", "as good", "control", "Keep C: it is better than M."),
        ("worse", "worse", "worse", "incoming", "Keep I: it is better than M."),
        ("can't tell", "worse", "can't tell", "incoming", "Keep I: it is better than M."),
        (None, "worse", None, "incoming", "Keep I: it is better than M."),
        (None, "better", None, "model", "Keep M: it is better than I."),
    ],
)
def test_the_best_model(
    tuned, against_control, against_incoming, control_against_incoming, best, advice
):
    def comparison(verdict):
        return None if verdict is None else replace(tuned.comparison, verdict=verdict)

    result = replace(
        tuned,
        comparison=comparison(against_control),
        incoming_comparison=comparison(against_incoming),
        control_incoming_comparison=comparison(control_against_incoming),
    )
    assert result.best == best
    assert result.advice(model="M", control="C", incoming="I") == advice


def test_lower_scores_that_may_be_chance_are_said_too(tuned):
    lower = replace(tuned.comparison, verdict="can't tell", gain=-0.01, b=0.9)
    result = replace(tuned, incoming_comparison=lower, control_incoming_comparison=lower)
    assert "No fine-tuned network scored as well as the model that came in (accuracy" in (
        result.verdict
    )
    assert result.best == "model"


def test_all_compiled_metrics_are_compared(original, digits):
    metrics = [keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")]
    result = kp.finetune(original, *digits, recipe="identity", epochs=1, metrics=metrics)
    for comparison in (result.comparison, result.incoming_comparison):
        assert [metric.name for metric in comparison.metrics] == ["top3"]
    _, validation = digits
    measured = result.model.evaluate(validation.x, validation.y, verbose=0, return_dict=True)
    np.testing.assert_allclose(result.comparison.metrics[0].a, measured["top3"], atol=1e-6)
    assert "top3: " in result.verdict


def test_a_prelu_inside_a_wrapper_makes_a_model_converted(digits):
    train, validation = digits
    layers = [
        keras.layers.Reshape((8, 8)),
        keras.layers.TimeDistributed(kp.PReLU(0.25)),
        keras.layers.Flatten(),
    ]
    model = keras.Sequential([keras.Input(train.x.shape[1:]), *layers, keras.layers.Dense(10)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert kp.finetune(model, train, validation, epochs=1, control=False).recipe == ""


def test_the_original_is_no_converted_model(converted, digits):
    with pytest.raises(ValueError, match="`original` has PReLU layers itself"):
        kp.finetune(converted, *digits, original=converted)


class ForgetAll(keras.callbacks.Callback):
    """The third epoch starts from zeros, so that the second is the best."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.model.set_weights([np.zeros_like(weights) for weights in self.model.get_weights()])


def test_the_best_epoch_on_the_selection_samples_is_kept(converted, original, digits):
    train, validation = digits
    selection = validation.take(slice(0, 40))
    result = kp.finetune(
        converted,
        train,
        validation,
        original=original,
        selection=selection,
        epochs=3,
        callbacks=[ForgetAll()],
        **FAST,
    )
    for trained in (result.prelu, result.control):
        losses = trained.history["val_loss"]
        assert min(losses) < losses[-1] - 0.1
        loss, _ = trained.model.evaluate(selection.x, selection.y, verbose=0)
        np.testing.assert_allclose(loss, min(losses), rtol=1e-4)


def test_every_value_is_scanned_once(dead, digits, monkeypatch):
    scanned = []

    def counting(array, role):
        scanned.append((role, len(array)))
        return check_finite(array, role)

    monkeypatch.setattr("keras_prelu.data.arrays.check_finite", counting)
    kp.finetune(dead, *digits, recipe="identity-revived", epochs=1)
    assert sorted(scanned) == [("training samples", 160), ("validation samples", 80)]


def test_auto_searches_within_its_budget_and_never_sees_the_validation_samples(
    dead, digits, monkeypatch
):
    train, validation = digits
    steps, seen = [], []
    fit = keras.Model.fit

    def counting(model, data, **kwargs):
        steps.append(len(data) * kwargs["epochs"])
        seen.append(kwargs["validation_data"][0])
        return fit(model, data, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", counting)
    counts = []
    result = kp.finetune(  # "auto" is the default
        dead,
        train,
        validation,
        budget=3.0,
        epochs=8,
        batch_size=16,
        on_trial=lambda *count: counts.append(count),
    )
    one = 8 * 8  # batches of the 128 samples that are left for training, epochs
    finals = [count for count in steps if count == one]
    assert len(finals) == (3 if result.prepared_control else 1 if result.recipe == "relu" else 2)
    assert sum(steps) - one * (len(finals) - 1) <= 3.0 * one
    assert sum(steps) - one * (len(finals) - 1) > 2.5 * one
    assert [trial.steps for trial in result.trials] == steps[: len(result.trials)]
    assert [(each.recipe, each.multiplier) for each in result.trials if each.round == 1] == [
        (each.recipe.name, each.multiplier)
        for each in candidates(dead, "adam", effective=PREPARATIONS)
    ]
    second = [trial for trial in result.trials if trial.round == 2]
    best = min(second, key=lambda trial: trial.loss)
    assert (result.recipe, result.slope_multiplier or 1.0) == (best.recipe, best.multiplier)
    assert counts[-1] == (len(result.trials), len(result.trials))
    validation_rows = {row.tobytes() for row in validation.x} - {row.tobytes() for row in train.x}
    assert not any(row.tobytes() in validation_rows for x in seen for row in x)


def test_where_the_control_wins_the_search_the_verdict_is_keep_relu(original, digits, monkeypatch):
    losses = {"relu": 0.1}
    monkeypatch.setattr(
        "keras_prelu.training.recipe_search._short_training_loss",
        lambda prepared, setup: losses.get(prepared.recipe.name, 1.0),
    )
    result = kp.finetune(original, *digits, recipe="auto", epochs=1)
    assert result.recipe == "relu"
    assert result.slopes_after == ()
    assert result.control is result.prelu
    assert result.comparison.gain == 0.0
    assert "keep ReLU" in result.verdict


def test_a_training_that_fails_loses_the_search(original, digits, monkeypatch):
    import keras_prelu.training.recipe_search as module

    train = module.lowest_selection_loss

    def failing(model, setup):
        if setup.slopes.multiplier > 1.0:
            raise kp.errors.FineTuningError("The loss became nan.")
        return train(model, setup)

    monkeypatch.setattr(module, "lowest_selection_loss", failing)
    result = kp.finetune(original, *digits, epochs=4, budget=5, control=False)
    lost = {trial.multiplier for trial in result.trials if trial.loss == float("inf")}
    assert lost == {10.0, 30.0}
    assert (result.slope_multiplier or 1.0) == 1.0


def test_without_control(converted, digits):
    result = kp.finetune(converted, *digits, epochs=1, control=False)
    assert result.control is None
    assert result.comparison is None
    assert "nothing can be said" in result.verdict


class Count(keras.callbacks.Callback):
    epochs = 0

    def on_epoch_end(self, epoch, logs=None):
        Count.epochs += 1


def test_the_users_own_settings(converted, original, digits):
    train, validation = ((part.x, part.y) for part in digits)
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.1)
    result = kp.finetune(
        converted,
        train,
        validation,
        original=original,
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
    assert result.prelu.model.optimizer.inner_optimizer.weight_decay == 0.1
    assert isinstance(result.control.model.optimizer, keras.optimizers.AdamW)
    assert not optimizer.built  # copies were used


def test_accumulated_gradients_are_those_of_larger_batches(converted, digits):
    """Two batches of 20 with plain gradient descent are one of 40, for weights and slopes."""
    weights = []
    for batch_size, accumulated in ((40, None), (20, 2)):
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulated)
        result = kp.finetune(
            converted,
            *digits,
            epochs=1,
            batch_size=batch_size,
            optimizer=optimizer,
            control=False,
        )
        weights.append(result.model.get_weights())
    for one, other, before in zip(*weights, converted.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert not np.allclose(one, before, atol=1e-4)


def test_frozen_layers_stay_and_the_rest_learns(digits):
    original = network()
    original.layers[0].trainable = False
    result = kp.finetune(original, *digits, recipe="identity", epochs=1)
    for trained in (result.prelu, result.control):
        for one, other in zip(
            trained.model.layers[0].get_weights(), original.layers[0].get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert not np.allclose(
            trained.model.layers[-1].get_weights()[0], original.layers[-1].get_weights()[0]
        )
    assert result.slopes_after == result.slopes_before  # of a frozen part they are frozen too


def test_slopes_are_frozen_and_warmed_up_for_parts_of_the_training(converted, digits):
    options = {"epochs": 2, "batch_size": 40, "slope_multiplier": 2.0, "control": False}
    options["optimizer"] = "adam"  # Whose state the model keeps.
    frozen = kp.finetune(converted, *digits, slope_frozen_epochs=2, **options)
    assert frozen.slopes_after == frozen.slopes_before
    result = kp.finetune(
        converted, *digits, slope_frozen_epochs=1, slope_warmup_epochs=0.5, **options
    )
    optimizer = result.model.optimizer
    batches = len(digits[0]) // 40
    assert (optimizer.frozen_steps, optimizer.warmup_steps, optimizer.multiplier) == (
        batches,
        batches // 2,
        2.0,
    )
    assert result.slopes_after[0].mean != result.slopes_before[0].mean


def test_a_stream_of_unknown_length_has_no_epochs_to_freeze_slopes_for(converted, digits):
    torch = pytest.importorskip("torch")

    class Unknown(torch.utils.data.IterableDataset):
        def __iter__(self):
            return zip(*(torch.as_tensor(part) for part in digits[0].labelled), strict=True)

    stream = torch.utils.data.DataLoader(Unknown(), batch_size=32)
    with pytest.raises(kp.KerasPReLUError, match="no length"):
        kp.finetune(converted, stream, digits[1], control=False, epochs=2, slope_frozen_epochs=1)


def test_a_stream_of_batches(converted, digits):
    train, validation = digits
    stream = ShuffledBatches(train, 16, seed=1)
    result = kp.finetune(converted, stream, validation, control=False, epochs=2, learning_rate=0.02)
    assert result.prelu.score_after > result.prelu.score_before


def test_regression():
    model = models.live_in(models.mlp())
    x = models.samples(model, 100)
    y = np.tanh(x[:, :3])
    converted = kp.convert(model, calibration_data=x)
    result = kp.finetune(
        converted, (x[:70], y[:70]), (x[70:], y[70:]), original=model, epochs=2, loss="mse"
    )
    assert result.comparison.metric == "loss"
    assert result.prelu.score_after < result.prelu.score_before


def test_a_loss_that_explodes_is_an_error(converted, digits):
    with pytest.raises(kp.KerasPReLUError, match="Lower the learning rate"):
        kp.finetune(
            converted, *digits, epochs=2, optimizer=keras.optimizers.SGD(1e20), control=False
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"slope_multiplier": 0.0}, "multiplier"),
        (
            {"epochs": 2, "slope_frozen_epochs": 1.5, "slope_warmup_epochs": 1.0},
            "within the 2 epochs",
        ),
        ({"original": None}, "as `original`, or set control=False"),
        ({"recipe": "exp"}, "has PReLU layers"),
    ],
)
def test_bad_arguments(converted, original, digits, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.finetune(converted, *digits, **{"epochs": 1, "original": original, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"recipe": "best"}, "'identity-revived'.*recipe='best'"),
        ({"recipe": "exp-fast"}, "'exp-decay' takes its place"),
        ({"recipe": "exp-fast-revived"}, "'identity-revived' takes its place"),
        ({"recipe": "exp-half"}, "'exp-decay' takes its place"),
        ({"recipe": "auto", "budget": 1.0}, "budget=1.0"),
        ({"recipe": "auto", "batch_size": 200}, "Give more epochs"),
    ],
)
def test_bad_recipes(original, digits, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.finetune(original, *digits, **{"epochs": 1, **kwargs})


@pytest.fixture(scope="module")
def gated():
    """A network with a rectifier that is converted by default, a gate, an output and a GELU."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    x = L.Dense(8, activation="relu", name="plain")(inputs)
    x = L.Multiply()([x, L.ReLU(1.0, name="gate")(L.Dense(8)(x))])
    x = L.Dense(8, activation="gelu", name="smooth")(x)
    model = keras.Model(inputs, L.Dense(10, activation="relu", name="output")(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


# How near the calibration of the gates of a fresh network comes depends on its weights.
@pytest.mark.filterwarnings("ignore:The calibrated model differs from the original")
@pytest.mark.parametrize("recipe", ["identity", "exp", "auto"])
def test_a_recipe_converts_the_chosen_sites(gated, digits, recipe):
    requested = {site.path for site in kp.find_sites(gated) if site.on_request}
    assert requested == {"gate", "smooth", "output"}
    common = {"recipe": recipe, "epochs": 2 if recipe == "auto" else 1, "batch_size": 8}
    result = kp.finetune(gated, *digits, include=["gate", "output"], control=False, **common)
    changed = {site.path for site in result.slopes_after}
    if result.recipe in ("identity", "identity-revived", "exp") or recipe != "auto":
        assert changed == {"gate", "output_prelu"}
    else:
        assert not changed or changed == {"gate", "output_prelu"}
    by_default = kp.finetune(gated, *digits, control=False, **{**common, "recipe": "identity"})
    assert {site.path for site in by_default.slopes_after} == {"plain_prelu"}
    left_out = kp.finetune(
        gated, *digits, include="*t*", exclude=["smooth", "output"], recipe="identity", epochs=1
    )
    assert {site.path for site in left_out.slopes_after} == {"gate"}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"include": "nothing"}, "`include` names no site"),
        ({"include": kp.sites.SMOOTH}, "'smooth' is smooth.*calibration_data"),
        ({"include": "gate", "exclude": "gate"}, "leave none"),
    ],
)
def test_chosen_sites_are_checked_before_anything_is_trained(
    gated, digits, monkeypatch, kwargs, message
):
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    with pytest.raises(kp.KerasPReLUError, match=message):
        kp.finetune(gated, *digits, epochs=1, **kwargs)


def test_a_converted_model_has_no_sites_to_choose(converted, original, digits):
    with pytest.raises(ValueError, match="trained as it is"):
        kp.finetune(converted, *digits, original=original, include="hidden")


def test_a_recipe_has_no_original_beside_it(original, digits):
    with pytest.raises(ValueError, match="Leave out `original`"):
        kp.finetune(original, *digits, original=original, recipe="exp")


def test_a_stream_with_a_recipe_needs_selection_samples(original, digits):
    train, validation = digits
    stream = ShuffledBatches(train, 40, seed=1)
    with pytest.raises(ValueError, match="`selection`"):
        kp.finetune(original, stream, validation, recipe="exp", epochs=1)
    result = kp.finetune(
        original, stream, validation, recipe="exp", selection=train.take(slice(0, 50)), epochs=1
    )
    assert result.comparison is not None


def test_bad_data(converted, digits):
    train, validation = digits
    for data, message in (
        ((kp.data.Samples(train.x), validation), "training samples must be"),
        ((train, validation.x), "validation samples must be"),
        (((train.x, train.y[:3]), validation), "are 160, their labels 3"),
        (
            (train, (validation.x[:, :8], validation.y)),
            r"validation samples have shape \(80, 8\)",
        ),
    ):
        with pytest.raises(kp.KerasPReLUError, match=message):
            kp.finetune(converted, *data, control=False)


def test_a_model_without_a_loss(digits):
    layers = [keras.Input((64,)), kp.PReLU(), L.Dense(10)]
    with pytest.raises(ValueError, match="Give `loss`"):
        kp.finetune(keras.Sequential(layers), *digits, control=False)


def test_batches_have_an_order_of_the_seed_alone():
    samples = kp.data.Samples(np.arange(10), np.arange(10))
    first, second, other = (ShuffledBatches(samples, 4, seed) for seed in (0, 0, 1))
    for _ in range(2):
        orders = [
            np.concatenate([batches[i][0] for i in range(len(batches))])
            for batches in (first, second, other)
        ]
        np.testing.assert_array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], orders[2])
        assert sorted(orders[0]) == list(range(10))
        for batches in (first, second, other):
            batches.on_epoch_end()
