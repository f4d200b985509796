"""keras_prelu.training.recipe_search: it stays within its budget, whatever the data."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_prelu as kp
from keras_prelu.data.samples import as_samples
from keras_prelu.training import recipe_search as searching
from keras_prelu.training.candidates import Candidate
from keras_prelu.training.recipes import RECIPES
from keras_prelu.training.search_budget import checked_steps_of_round
from keras_prelu.training.setup import TrainingSetup


def setup(samples, epochs, batch_size):
    data = as_samples((np.zeros((samples, 1), "float32"), np.zeros(samples)))
    return TrainingSetup(
        train=data,
        selection=data,
        fit=kp.FitConfig(epochs=epochs, batch_size=batch_size, loss="mse"),
        slopes=kp.SlopeConfig(),
    )


@given(
    st.integers(1, 500),
    st.integers(1, 12),
    st.integers(1, 64),
    st.floats(1.5, 6.0),
    st.integers(2, len(RECIPES)),
    st.integers(0, 99),
)
def test_all_trainings_together_are_within_the_budget(
    samples, epochs, batch_size, times, recipes, seed
):
    """With losses drawn at random, of trainings that aren't done."""
    final, rng, steps = setup(samples, epochs, batch_size), np.random.default_rng(seed), []
    whole = final.steps()

    def loss(_prepared, short):
        steps.append(short.steps())
        return float(rng.random())

    def searched():
        competing = [Candidate(recipe=recipe) for recipe in RECIPES[:recipes]]
        return searching.search_recipe(
            competing,
            lambda recipe: None,
            final,
            checked_steps_of_round(final, times),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_short_training_loss", loss)
        if (times - 1.0) * whole < 4:
            with pytest.raises(kp.errors.InvalidArgumentError, match="Give more epochs"):
                searched()
            assert not steps
            return
        found = searched()
    assert sum(steps) + whole <= times * whole
    assert min(steps) >= 1
    assert [trial.steps for trial in found.trials] == steps
    rounds = [{trial.steps for trial in found.trials if trial.round == number} for number in (1, 2)]
    assert not rounds[1] or min(rounds[1]) > max(rounds[0])  # No round repeats the first one.
    number = found.trials[-1].round
    last = {trial.recipe: trial.loss for trial in found.trials if trial.round == number}
    assert found.candidate.recipe.name == min(last, key=last.get)


@pytest.mark.parametrize(("samples", "rounds"), [(160, 1), (2000, 2)])
def test_a_search_too_short_to_tell_is_named(samples, rounds, monkeypatch):
    """And it has no second round that repeats the first one."""
    monkeypatch.setattr(
        searching,
        "_short_training_loss",
        lambda prepared, short: 0.0 if prepared.recipe.name == "relu" else 1.0,
    )
    x = np.random.default_rng(0).normal(size=(samples, 2)).astype("float32")
    y = x.sum(axis=1)
    hidden = keras.layers.Dense(2, activation="relu")
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(1)])
    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "The trainings of the search")
        result = kp.finetune(
            model,
            (x, y),
            (x[:20] + 1.0, y[:20]),
            loss="mse",
            epochs=2,
            budget=2,
            on_trial=lambda *counts: seen.append(counts),
        )
    messages = [str(each.message) for each in caught]
    assert result.trials[-1].round == rounds
    assert seen == [(done, len(result.trials)) for done in range(1, len(result.trials) + 1)]
    if rounds == 1:
        assert "(steps: 2). Give more `epochs` or a larger `budget`." in messages[0]
        assert "for the choice, in a search too short to tell: keep ReLU." in result.verdict
    else:
        assert not messages
        assert "for the choice: keep ReLU." in result.verdict


def test_short_trainings_freeze_and_warm_up_slopes_for_the_same_shares():
    final = replace(
        setup(320, 8, 16), slopes=kp.SlopeConfig(multiplier=2.0, frozen_epochs=2, warmup_epochs=1)
    )
    for steps in (5, 20, 43, 100):
        short = final.shortened(steps)
        assert short.steps() <= steps
        slopes = short.slopes
        assert slopes.frozen_epochs / short.fit.epochs == pytest.approx(1 / 4)
        assert slopes.warmup_epochs / short.fit.epochs == pytest.approx(1 / 8)
        assert slopes.multiplier == short.with_default_multiplier(4.0).slopes.multiplier == 2.0


def test_a_model_that_can_not_be_prepared_is_tried_by_the_other_recipes(monkeypatch):
    """A preparation that fails loses; a conversion that fails by itself is an error."""
    monkeypatch.setattr(searching, "_short_training_loss", lambda prepared, short: 1.0)
    final = setup(320, 8, 16)

    def searched(fails):
        def prepare(recipe):
            if fails(recipe):
                raise kp.errors.ConversionError("can't be drawn anew")

        competing = [Candidate(recipe=recipe) for recipe in RECIPES]
        return searching.search_recipe(
            competing, prepare, final, checked_steps_of_round(final, 6.0)
        )

    found = searched(lambda recipe: recipe.preparations)
    lost = {trial.recipe for trial in found.trials if trial.loss == float("inf")}
    assert lost == {recipe.name for recipe in RECIPES if recipe.preparations}
    assert not found.candidate.recipe.preparations
    with pytest.raises(kp.errors.ConversionError, match="drawn anew"):
        searched(lambda recipe: recipe.name == "identity")


def test_of_a_stream_the_first_batches_are_tried(monkeypatch):
    """The search on a stream is that on its first batches as arrays; nothing else is read for it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype("float32")
    y = (x[:, :3] > 0).argmax(axis=1)
    hidden = keras.layers.Dense(8, activation="relu")
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    read = []

    class Stream(keras.utils.PyDataset):
        def __len__(self):
            return 40

        def __getitem__(self, index):
            read.append(index)
            return x[10 * index : 10 * index + 10], y[10 * index : 10 * index + 10]

    seen = []
    real = searching._short_training_loss

    def remembered(prepared, setup):
        if not seen:
            seen.append((list(read), setup))
        return real(prepared, setup)

    monkeypatch.setattr(searching, "_short_training_loss", remembered)
    result = kp.finetune(model, Stream(), (x, y), selection=(x, y), epochs=1, budget=2.0)
    assert result.trials
    (before, setup), *_ = seen
    assert max(before) == 9  # Each of two rounds has 20 steps, for two candidates or more.
    np.testing.assert_array_equal(setup.train.x, x[: len(setup.train)])
    assert (len(setup.train), setup.fit.batch_size) == (100, 10)
