"""keras_prelu.try_recipes: short trainings on held-back samples, without a final one."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training import recipe_search, recipe_trials, time_limit
from keras_prelu.training.fit import lowest_selection_loss
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


@pytest.fixture
def costs(monkeypatch):
    """What trainings take by a clock of the tests: "fixed" and "step" seconds, and once "first"."""
    now, costs = [0.0], {"fixed": 1.0, "step": 0.1, "first": 10.0, "trained": []}
    monkeypatch.setattr(time_limit, "clock", lambda: now[0])

    def trained(name, setup):
        steps = setup.steps()
        costs["trained"].append((name, steps))
        seconds = costs["fixed"] + costs["step"] * steps + costs.pop("first", 0.0)
        is_limited = setup.fit.callbacks is not None
        if is_limited and now[0] + seconds > costs["end"]:
            now[0] = costs["end"] + 0.01
            raise time_limit.OutOfTime
        now[0] += seconds
        costs["now"] = now[0]
        return 1.0 / steps

    monkeypatch.setattr(
        recipe_search,
        "_trial_loss",
        lambda prepare, candidate, setup: trained(candidate.recipe.name, setup),
    )
    monkeypatch.setattr(
        recipe_trials, "lowest_selection_loss", lambda model, setup: trained("timed", setup)
    )
    return costs


def tried(model, costs, seconds):
    """With 64 steps of one sample an epoch, and at most 640 for a candidate."""
    costs["end"] = seconds
    fit = kp.FitConfig(batch_size=1, epochs=70)
    return kp.try_recipes(model, data(80), seconds=seconds, fit=fit)


def test_seconds_become_steps(model, costs):
    """With trainings that take 1 second and 0.1 a step, the first one 10 seconds longer."""
    found = tried(model, costs, 60.0)
    count = len([trial for trial in found.trials if trial.round == 1])
    trainings = len(found.trials)
    assert trainings == count + max(2, -(-count // 3))
    assert costs["trained"][:3] == [("relu", 8), ("timed", 8), ("timed", 24)]
    # Timed trainings of 11.8, 1.8 and 3.4 seconds; all others take 1 second and their steps, and a
    # quarter of the time is kept in reserve.
    left = 0.75 * (60.0 - 17.0) - trainings
    assert found.trials[0].steps == int(left / (2 * count * 0.1))
    assert 45.0 < found.seconds <= 60.0
    assert found.note == ""
    assert found.left_out == ()


def test_the_least_is_two_recipes_and_the_first_training_is_one_of_them(model, costs):
    found = tried(model, costs, 1.0)
    assert costs["trained"] == [("relu", 8), ("identity-revived", 8)]
    assert [(trial.round, trial.steps) for trial in found.trials] == [(1, 8), (1, 8)]
    assert found.seconds == pytest.approx(13.6)
    assert "took 14 s and were to take 1: two recipes with 8 steps each are the least" in found.note
    assert "identity-revived at 30x" in found.left_out
    assert f"no time to try {', '.join(found.left_out)}." in found.note
    assert "There was no time to train the best ones for longer." in found.note


def test_what_there_is_no_time_for_is_left_out(model, costs):
    """The first training takes 11.8 seconds, and those after it 1.8 at least."""
    found = tried(model, costs, 18.0)
    assert len(found.trials) == 4
    assert found.seconds == pytest.approx(17.2)
    assert "took" not in found.note
    everything = kp.try_recipes(model, data(), steps=8)
    assert len(found.left_out) == len({(t.recipe, t.multiplier) for t in everything.trials}) - 4


def test_a_machine_that_slows_down_does_not_exceed_the_time(model, costs):
    """A step takes thirty times as long once the trials run: the timed ones promised too much."""
    real = recipe_search.search_recipe

    def slower(*args, **kwargs):
        costs["step"] = 3.0
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_trials, "search_recipe", slower)
        found = tried(model, costs, 60.0)
    # The first training of all its steps was ended. Two with 8 steps take its place; that of the
    # ReLU model was done before.
    assert costs["trained"][3][0] == "relu"
    assert costs["trained"][3][1] > 14
    assert [trial.steps for trial in found.trials] == [8, 8]
    assert costs["trained"][4:] == [("identity-revived", 8)]
    assert found.seconds == pytest.approx(60.0 + 1.0 + 8 * 3.0, abs=0.1)
    assert "There was no time to train the best ones for longer." in found.note


def test_a_second_round_that_is_ended_does_not_count(model, costs):
    """A single training of it has no other to be compared with."""
    real = recipe_search._ShortTrainings.run

    def slower(self, number, *args, **kwargs):
        costs["step"] = 5.0 if number == 2 else costs["step"]
        return real(self, number, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_search._ShortTrainings, "run", slower)
        found = tried(model, costs, 60.0)
    assert {trial.round for trial in found.trials} == {1}
    assert found.recipe in {trial.recipe for trial in found.trials}


def test_a_training_is_ended_while_it_runs(model, monkeypatch):
    """By a clock that goes on by a second whenever it is read."""
    now = [0.0]

    def clock():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(time_limit, "clock", clock)
    setup = recipe_trials._setup(model, data(), kp.FitConfig(epochs=50))
    before = model.get_weights()
    limit = time_limit.TimeLimit(20.0)
    with pytest.raises(time_limit.OutOfTime):
        lowest_selection_loss(model, limit.ending(setup.shortened(100)))
    assert 20.0 < limit.taken() < 25.0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(lowest_selection_loss(model, setup.shortened(8)))


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
    few = kp.try_recipes(model, data(), seconds=1e6, fit=kp.FitConfig(epochs=2))
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
