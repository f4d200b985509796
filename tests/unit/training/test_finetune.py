"""keras_prelu.training.finetune: both runs, their budget, and the verdict."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.recipes import RECIPES, candidates, get_recipe
from tests.helpers import models

L = keras.layers


@pytest.fixture(scope="module")
def digits():
    data = kp.data.load("digits", input_shape=(64,))
    return data.train.take(slice(0, 400)), data.test.take(slice(0, 200))


@pytest.fixture
def original():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), L.Dense(16, activation="relu", name="hidden"), L.Dense(10)]
    )
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
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
        assert (
            [site.units for site in run.dead_before]
            == [site.units for site in run.dead_after]
            == [16]
        )
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
    assert result.comparison.verdict == "as good"
    assert "better" not in result.verdict


class ForgetAll(keras.callbacks.Callback):
    """The fourth epoch starts from zeros, so that the third is the best."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            self.model.set_weights([np.zeros_like(weights) for weights in self.model.get_weights()])


def test_the_best_epoch_on_the_selection_samples_is_kept(converted, original, digits):
    train, validation = digits
    selection = validation.take(slice(0, 60))
    result = kp.finetune(
        converted,
        original,
        train,
        validation,
        selection=selection,
        epochs=4,
        callbacks=[ForgetAll()],
    )
    for run in (result.prelu, result.control):
        losses = run.history["val_loss"]
        assert min(losses) < losses[-1] - 0.1
        loss, _ = run.model.evaluate(selection.x, selection.y, verbose=0)
        np.testing.assert_allclose(loss, min(losses), rtol=1e-4)


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES])
def test_a_recipe_by_name_costs_one_run_and_its_controls(recipe, original, digits):
    kill(original)
    train, validation = digits
    result = kp.finetune(original, None, train, validation, recipe=recipe, epochs=2, batch_size=16)
    assert result.recipe == recipe
    assert result.trials == ()
    converts, revives = "relu" not in recipe, "revived" in recipe
    assert bool(result.slopes_after) == converts
    assert (result.revival is not None) == revives
    assert result.control.model.count_params() == original.count_params()
    assert (result.revived_control is not None) == (converts and revives)
    if revives:
        assert result.revival.revived >= 3
    if recipe == "identity":
        assert result.slopes_before[0].mean == 0.0
        assert result.prelu.score_before == result.control.score_before
    multiplier = getattr(result.model.optimizer, "multiplier", 1.0)
    assert multiplier == get_recipe(recipe).slope_multiplier
    assert ("the same with its dead units revived" in result.verdict) == (converts and revives)


def test_auto_searches_within_its_budget_and_never_sees_the_validation_samples(
    original, digits, monkeypatch
):
    kill(original)
    train, validation = digits
    steps, seen = [], []
    fit = keras.Model.fit

    def counting(model, data, **kwargs):
        steps.append(len(data) * kwargs["epochs"])
        seen.append(kwargs["validation_data"][0])
        return fit(model, data, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", counting)
    counts = []
    result = kp.finetune(
        original,
        None,
        train,
        validation,
        recipe="auto",
        budget=3.0,
        epochs=8,
        on_trial=lambda *count: counts.append(count),
    )
    one = 10 * 8  # batches of the 320 samples that are left for training, epochs
    finals = [count for count in steps if count == one]
    assert len(finals) == (3 if result.revived_control else 1 if result.recipe == "relu" else 2)
    assert sum(steps) - one * (len(finals) - 1) <= 3.0 * one
    assert sum(steps) - one * (len(finals) - 1) > 2.5 * one
    assert [trial.steps for trial in result.trials] == steps[: len(result.trials)]
    assert {trial.recipe for trial in result.trials if trial.round == 1} == {
        recipe.name for recipe in RECIPES
    }
    second = {trial.recipe: trial.loss for trial in result.trials if trial.round == 2}
    assert result.recipe == min(second, key=second.get)
    assert counts[-1] == (len(result.trials), len(result.trials))
    rows = {row.tobytes() for row in validation.x}
    assert all(
        row.tobytes() not in rows or row.tobytes() in {r.tobytes() for r in train.x}
        for x in seen
        for row in x
    )


def test_where_the_control_wins_the_search_it_says_keep_relu(original, digits, monkeypatch):
    losses = {"relu": 0.1}
    monkeypatch.setattr(
        "keras_prelu.training.recipe_search._trained_loss",
        lambda prepared, *rest: losses.get(prepared.recipe.name, 1.0),
    )
    result = kp.finetune(original, None, *digits, recipe="auto", epochs=1)
    assert result.recipe == "relu"
    assert result.slopes_after == ()
    assert result.control is result.prelu
    assert result.comparison.gain == 0.0
    assert "keep ReLU" in result.verdict


def test_a_training_that_fails_loses_the_search(original, digits, monkeypatch):
    import keras_prelu.training.recipe_search as module

    train = module.lowest_loss

    def failing(model, budget, slope_training):
        if slope_training.multiplier > 1.0:
            raise kp.errors.FineTuningError("The loss became nan.")
        return train(model, budget, slope_training)

    monkeypatch.setattr(module, "lowest_loss", failing)
    result = kp.finetune(original, None, *digits, recipe="auto", epochs=1)
    lost = {trial.recipe for trial in result.trials if trial.loss == float("inf")}
    assert (
        lost
        == {
            trial.recipe
            for trial in result.trials
            if get_recipe(trial.recipe).slope_multiplier > 1.0
        }
        != set()
    )
    assert result.recipe not in lost


def test_candidates_follow_the_model():
    plain, normalized = models.mlp(), models.residual()
    names = {recipe.name for recipe in candidates(plain, False)}
    assert names == {"relu", "exp", "identity", "exp-fast", "exp-half"}
    assert {recipe.name for recipe in candidates(plain, True)} == {
        recipe.name for recipe in RECIPES
    }
    has_norm = any(isinstance(layer, L.BatchNormalization) for layer in normalized.layers)
    assert ("exp-half" in {recipe.name for recipe in candidates(normalized, True)}) != has_norm


def kill(model):
    """Three units of the hidden layer that no sample activates."""
    kernel, bias = model.layers[0].get_weights()
    bias[:3] = -1000.0
    model.layers[0].set_weights([kernel, bias])


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


def test_accumulated_gradients_are_those_of_larger_batches(converted, digits):
    """Two batches of 20 with plain gradient descent are one of 40, for weights and slopes."""
    train, validation = digits
    weights = []
    for batch_size, accumulated in ((40, None), (20, 2)):
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulated)
        result = kp.finetune(
            converted,
            None,
            train,
            validation,
            epochs=1,
            batch_size=batch_size,
            optimizer=optimizer,
            control=False,
        )
        weights.append(result.model.get_weights())
    for one, other, before in zip(*weights, converted.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert not np.allclose(one, before, atol=1e-4)


def test_frozen_layers_stay_and_the_rest_learns(original, digits):
    original.layers[0].trainable = False
    result = kp.finetune(original, None, *digits, recipe="identity", epochs=2)
    for run in (result.prelu, result.control):
        for one, other in zip(
            run.model.layers[0].get_weights(), original.layers[0].get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert not np.allclose(
            run.model.layers[-1].get_weights()[0], original.layers[-1].get_weights()[0]
        )
    assert result.slopes_after == result.slopes_before  # of a frozen part they are frozen too


def test_slopes_are_frozen_and_warmed_up_for_parts_of_the_training(converted, original, digits):
    train, validation = digits
    options = {"epochs": 4, "batch_size": 50, "slope_multiplier": 2.0, "control": False}
    frozen = kp.finetune(converted, original, train, validation, slope_frozen_epochs=4, **options)
    for before, after in zip(frozen.slopes_before, frozen.slopes_after, strict=True):
        assert before.mean == after.mean
    result = kp.finetune(
        converted,
        original,
        train,
        validation,
        slope_frozen_epochs=1,
        slope_warmup_epochs=0.5,
        **options,
    )
    optimizer = result.model.optimizer
    batches = -(-len(train) // 50)
    assert (optimizer.frozen_steps, optimizer.warmup_steps, optimizer.multiplier) == (
        batches,
        batches // 2,
        2.0,
    )
    assert result.slopes_after[0].mean != result.slopes_before[0].mean


def test_a_stream_of_unknown_length_has_no_epochs_to_freeze_slopes_for(converted, original, digits):
    class Endless:
        def __len__(self):
            raise TypeError("unknown")

    with pytest.raises(kp.KerasPReLUError, match="no length"):
        kp.finetune(converted, original, Endless(), digits[1], epochs=2, slope_frozen_epochs=1)


def test_a_stream_of_batches(converted, original, digits):
    train, validation = digits
    result = kp.finetune(
        converted, original, ShuffledBatches(train, 50, seed=1), validation, epochs=2
    )
    assert result.prelu.score_after > result.prelu.score_before


def test_regression(digits):
    model = models.live_in(models.mlp())
    x = models.samples(model, 200)
    y = np.tanh(x[:, :3])
    converted = kp.convert(model, calibration_data=x)
    result = kp.finetune(
        converted, model, (x[:150], y[:150]), (x[150:], y[150:]), epochs=3, loss="mse"
    )
    assert result.comparison.metric == "loss"
    assert result.prelu.score_after < result.prelu.score_before


def test_a_loss_that_explodes_is_an_error(converted, digits):
    with pytest.raises(kp.KerasPReLUError, match="Lower the learning rate"):
        kp.finetune(
            converted, None, *digits, epochs=6, optimizer=keras.optimizers.SGD(1e20), control=False
        )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"optimizer": "adam", "learning_rate": 0.1}, "learning_rate"),
        ({"slope_multiplier": 0.0}, "multiplier"),
        ({"slope_clipnorm": 0.0}, "clipnorm"),
        (
            {"epochs": 2, "slope_frozen_epochs": 1.5, "slope_warmup_epochs": 1.0},
            "within the 2 epochs",
        ),
        ({"original": None}, "original"),
        ({"recipe": "exp"}, "has PReLU layers"),
    ],
)
def test_bad_arguments(converted, original, digits, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.finetune(converted, kwargs.pop("original", original), *digits, **{"epochs": 1, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"recipe": "best"}, "'exp-revived'"),
        ({"recipe": "auto", "budget": 1.0}, "budget=1.0"),
    ],
)
def test_bad_recipes(original, digits, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.finetune(original, None, *digits, **{"epochs": 1, **kwargs})


def test_a_stream_with_a_recipe_needs_selection_samples(original, digits):
    train, validation = digits
    stream = ShuffledBatches(train, 50, seed=1)
    with pytest.raises(ValueError, match="`selection`"):
        kp.finetune(original, None, stream, validation, recipe="exp", epochs=1)
    with pytest.raises(ValueError, match="as arrays"):
        kp.finetune(
            original, None, stream, validation, recipe="auto", selection=validation, epochs=1
        )
    result = kp.finetune(
        original,
        None,
        stream,
        validation,
        recipe="exp",
        selection=train.take(slice(0, 50)),
        epochs=1,
    )
    assert result.comparison is not None


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
    bare = kp.convert(
        keras.Sequential([keras.Input((64,)), L.Dense(4, activation="relu"), L.Dense(10)]),
        rescale="none",
    )
    with pytest.raises(ValueError, match="give `loss`"):
        kp.finetune(bare, None, *digits, control=False)


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
