"""keras_prelu.try_recipes: short trainings on held-back samples, without a final one."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training import recipe_trials
from keras_prelu.training.candidates import Candidate
from keras_prelu.training.recipes import CONTROL
from tests.helpers import models

L = keras.layers


def network(dead=(1, 2)):
    model = models.live_in(models.mlp())
    kernel, bias = model.layers[0].get_weights()
    bias[list(dead)] = -100.0
    model.layers[0].set_weights([kernel, bias])
    model.compile("adam", "mse")
    return model


def data(count=100):
    x = models.samples(models.mlp(), count)
    return x, np.tanh(x[:, :3])


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def found(model, progress):
    before = model.get_weights()
    found = kp.try_recipes(model, data(), steps=8, on_trial=lambda *count: progress.append(count))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return found


def test_all_candidates_get_equal_steps_and_the_best_three_times_as_many(found, progress):
    first = [trial for trial in found.trials if trial.round == 1]
    second = [trial for trial in found.trials if trial.round == 2]
    names = [(trial.recipe, trial.multiplier) for trial in first]
    assert ("relu", 1.0) in names
    assert {"identity-revived", "shrink-identity"} <= {name for name, _ in names}  # first and last
    assert {trial.steps for trial in first} <= {6, 8, 9}  # in whole epochs of 3 batches
    assert len(second) == max(2, -(-len(first) // 3))
    assert all(trial.steps >= 2 * first[0].steps for trial in second)
    assert progress[-1] == (len(found.trials), len(found.trials))
    assert found.held_back == 20
    best = min(second, key=lambda trial: trial.loss)
    assert (found.recipe, found.multiplier) == (best.recipe, best.multiplier)


def test_trials_learn_and_can_be_repeated(model, found):
    assert kp.try_recipes(model, data(), steps=8) == found
    x, y = data()
    untrained = np.square(model.predict(x, verbose=0) - y).mean()
    longest = max(found.trials, key=lambda trial: trial.steps)
    assert 0 < longest.loss < untrained


def test_latest_lists_each_candidate_once_the_second_round_first(found):
    keys = [(trial.recipe, trial.multiplier) for trial in found.latest]
    assert len(keys) == len(set(keys)) == len([each for each in found.trials if each.round == 1])
    rounds = [trial.round for trial in found.latest]
    assert rounds == sorted(rounds, reverse=True)
    assert keys[0] == (found.recipe, found.multiplier)


def test_seconds_become_steps(monkeypatch):
    """With trainings that take 1 second and 0.1 a step, the first one 10 seconds longer."""
    asked = []

    def seconds_of(preparer, setup, candidate, steps):
        asked.append(candidate.recipe.name)
        return (11.0 if len(asked) == 1 else 1.0) + 0.1 * steps

    monkeypatch.setattr(recipe_trials, "_seconds_of", seconds_of)
    competing = [Candidate(recipe=CONTROL)] * 6
    steps = recipe_trials._affordable_steps(None, None, competing, 51.4)
    # Timed trainings of 11.4, 1.4 and 2.6 seconds, and eight of which 1 second is fixed: 28 seconds
    # are left for two rounds of six times so many steps.
    assert steps == int(28.0 / (2 * 6 * 0.1))
    assert asked == ["relu", "relu", "relu"]
    assert recipe_trials._affordable_steps(None, None, competing, 1.0) == 8


@pytest.mark.slow
def test_with_time_to_spare_the_trials_are_those_of_a_fine_tuning(model):
    fit = kp.FitConfig(epochs=24)
    found = kp.try_recipes(model, data(), seconds=1e6, fit=fit)
    result = kp.finetune(model, data(), data(20), recipe="auto", fit=fit, control=False)
    assert found.trials == result.trials
    assert found.recipe == result.recipe


def test_a_trial_has_no_more_steps_than_a_fine_tuning_gives_it(model, monkeypatch):
    """With 6 steps for all candidates they get the least, and nothing is timed."""
    monkeypatch.setattr(recipe_trials, "_seconds_of", None)
    few = kp.try_recipes(model, data(), fit=kp.FitConfig(epochs=2))
    first = [trial.steps for trial in few.trials if trial.round == 1]
    assert len(first) > 2
    assert set(first) <= {6, 8, 9}  # in whole epochs of 3 batches


def test_what_can_not_be_tried_is_refused(model):
    x, y = data()
    converted = kp.convert(model)
    converted.compile("adam", "mse")
    with pytest.raises(kp.errors.InvalidArgumentError, match="PReLU"):
        kp.try_recipes(converted, (x, y), steps=8)
    with pytest.raises(kp.errors.DataError, match="labels"):
        kp.try_recipes(model, x, steps=8)
    with pytest.raises(kp.errors.DataError, match="at least 10"):
        kp.try_recipes(model, (x[:9], y[:9]), steps=8)
    with pytest.raises(kp.errors.InvalidArgumentError, match="steps"):
        kp.try_recipes(model, (x, y), steps=2)
    with pytest.raises(kp.errors.InvalidArgumentError, match="seconds"):
        kp.try_recipes(model, (x, y), seconds=0)
    uncompiled = models.live_in(models.mlp())
    with pytest.raises(kp.errors.InvalidArgumentError, match="loss"):
        kp.try_recipes(uncompiled, (x, y), steps=8)


def test_settings_of_the_trainings():
    """Without dead units no revival is tried; the loss and the optimizer are those that are given."""
    model = models.live_in(models.mlp())
    for layer in model.layers:
        layer.bias.assign(np.ones(layer.bias.shape))
    fit = kp.FitConfig(loss="mse", optimizer="sgd")
    found = kp.try_recipes(model, data(), steps=8, fit=fit)
    assert not any("revived" in trial.recipe for trial in found.trials)
    assert all(np.isfinite(trial.loss) for trial in found.trials)
