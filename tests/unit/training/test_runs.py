"""keras_prelu.training.runs: several fine-tunings, compared over their seeds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

import keras_prelu as kp
from keras_prelu.training import runs as runs_module
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.guard import DivergedTrainingError
from keras_prelu.training.run_comparison import compare_runs
from keras_prelu.training.runs import described_cost

FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def tuned(dead, digits):
    return kp.finetune(dead, *digits, recipe="identity-revived", runs=3, seed=4, **FAST)


def test_each_run_is_the_fine_tuning_of_its_seed(tuned, dead, digits):
    over = tuned.over_runs
    assert [run.seed for run in over.runs] == [4, 5, 6]
    train, selection = kp.data.dataset.split(digits[0], 0.2, 4)
    for run in over.runs:
        alone = kp.finetune(
            dead,
            train,
            digits[1],
            recipe="identity-revived",
            selection=selection,
            seed=run.seed,
            **FAST,
        )
        assert alone.over_runs is None
        assert run.score == alone.prelu.score_after
        assert run.control_score == alone.control.score_after
        assert run.prepared_control_score == alone.prepared_control.score_after
        assert run.selection_loss == min(alone.prelu.history["val_loss"])
        if run.seed == over.chosen:
            for one, other in zip(
                tuned.model.get_weights(), alone.model.get_weights(), strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_the_result_is_the_best_run_on_the_selection_samples(tuned):
    over = tuned.over_runs
    best = min(over.runs, key=lambda run: run.selection_loss)
    assert over.chosen == best.seed
    assert tuned.prelu.score_after == best.score
    assert tuned.control.score_after == best.control_score
    assert len({run.selection_loss for run in over.runs}) == 3  # Seeds differ.


def test_the_verdict_is_over_runs(tuned):
    comparison = tuned.over_runs.comparison
    gains = [run.score - run.control_score for run in tuned.over_runs.runs]
    np.testing.assert_allclose(comparison.gains, gains)
    expected = scipy.stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose((comparison.low, comparison.high), expected)
    assert comparison.over_samples.runs == 3
    assert comparison.sentence("PReLU", "the equally fine-tuned ReLU model") in tuned.verdict
    assert "95 % interval over runs" in tuned.verdict
    assert tuned.over_runs.prepared_comparison.sentence(
        "PReLU", "the same with its dead units revived"
    ) in (tuned.verdict)
    assert tuned.revived_control is not None


@pytest.mark.parametrize(("verdict", "best"), [("worse", "control"), ("can't tell", "model")])
def test_the_model_to_keep_follows_the_runs(tuned, verdict, best):
    over = tuned.over_runs
    fine = replace(tuned.incoming_comparison, verdict="better")
    result = replace(
        tuned,
        comparison=replace(tuned.comparison, verdict="better"),
        incoming_comparison=fine,
        control_incoming_comparison=fine,
        over_runs=replace(over, comparison=replace(over.comparison, verdict=verdict)),
    )
    assert result.best == best


def scores(gains, samples=400, spread=0.05):
    """Return losses of two models in several runs whose mean gains are given."""
    rng = np.random.default_rng(0)
    b = [rng.normal(1.0, 0.1, samples) for _ in gains]
    noise = [rng.normal(0.0, spread, samples) for _ in gains]
    return [
        other - gain + each - each.mean() for other, gain, each in zip(b, gains, noise, strict=True)
    ], b


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.10, 0.11, 0.12], "better"),
        ([-0.10, -0.11, -0.12], "worse"),
        ([0.3, -0.1, 0.1], "can't tell"),  # Runs scatter, however many samples there are.
        ([0.0, 0.0005, -0.0005, 0.0002], "as good"),
        ([0.10, 0.11], "can't tell"),
        ([0.1], "can't tell"),
    ],
)
def test_verdicts_over_runs(gains, verdict):
    result = compare_runs("loss", *scores(gains, spread=0.01))
    np.testing.assert_allclose(result.gains, gains, atol=1e-12)
    assert result.verdict == verdict
    if len(gains) < 3:
        assert (result.low, result.high) == (-math.inf, math.inf)
        assert "how runs scatter is not known from fewer than 3" in result.sentence("a", "b")


def test_runs_that_agree_on_few_samples_say_nothing_of_others():
    rng = np.random.default_rng(1)
    b = rng.normal(1.0, 0.1, 40)
    gain = rng.normal(0.05, 1.0, 40)
    result = compare_runs("loss", [b - gain, b - gain - 1e-4, b - gain + 1e-4], [b, b, b])
    assert result.low > 0 or result.high < 0
    assert result.verdict == "can't tell"
    sentence = result.sentence("A", "B")
    assert sentence.startswith("Can't tell A from B with this much test data (about ")
    assert (
        f"{result.low:+.4f} to {result.high:+.4f}; over samples {result.over_samples.low:+.4f}"
        in (sentence)
    )


@pytest.mark.parametrize(
    ("gains", "lacking"),
    [
        ([0.1, 0.11, 0.12], "with this much test data (about "),
        ([0.3, -0.1, 0.1], "with 3 runs and this much test data (about "),
        ([0.1, 0.11], "with 2 runs and this much test data (about "),
    ],
)
def test_what_is_lacking_over_runs_is_said_with_the_reason(gains, lacking):
    """Eleven different scores have no interval, whatever the runs say."""
    b = np.ones(100)
    a = [np.append(np.ones(89), np.full(11, 1.0 - 100 / 11 * gain)) for gain in gains]
    result = compare_runs("loss", a, [b] * len(gains))
    assert result.verdict == "can't tell"
    sentence = result.sentence("A", "B")
    assert sentence.startswith(f"Can't tell A from B {lacking}")
    assert "; over samples no interval, as scores differ on fewer than 20 samples; n = 100, " in (
        sentence
    )
    told = compare_runs("loss", *scores([0.3, -0.1, 0.1], spread=0.01))
    assert told.sentence("A", "B").startswith("Can't tell A from B with 3 runs: ")


def test_without_a_better_recipe_there_is_one_run(original, digits, monkeypatch):
    monkeypatch.setattr(
        "keras_prelu.training.recipe_search._short_training_loss",
        lambda prepared, setup: 0.1 if prepared.recipe.name == "relu" else 1.0,
    )
    result = kp.finetune(original, *digits, runs=3, epochs=1)
    assert result.over_runs is None
    assert "keep ReLU" in result.verdict


def test_runs_of_a_converted_model_hold_back_selection_samples(converted, original, digits):
    result = kp.finetune(converted, *digits, original=original, runs=2, **FAST)
    assert [run.seed for run in result.over_runs.runs] == [0, 1]
    assert "not known from fewer than 3" in result.verdict
    stream = ShuffledBatches(digits[0], 16, seed=0)
    with pytest.raises(ValueError, match="With several runs, a stream of training data needs"):
        kp.finetune(converted, stream, digits[1], control=False, runs=2)
    with pytest.raises(ValueError, match="runs=0"):
        kp.finetune(converted, *digits, control=False, runs=0)


def test_a_run_that_diverges_falls_back_alone(original, digits, monkeypatch):
    from keras_prelu.training import trainer as module

    train = module.train_and_score

    def diverging(model, setup, *others, **names):
        if setup.fit.seed == 1 and kp.diagnostics.layer_slopes(model):
            raise DivergedTrainingError(model.name, "its loss exploded in epoch 1")
        return train(model, setup, *others, **names)

    monkeypatch.setattr(module, "train_and_score", diverging)
    result = kp.finetune(original, *digits, recipe="identity", runs=3, epochs=1)
    assert [len(run.fallbacks) for run in result.over_runs.runs] == [0, 2, 0]
    assert result.over_runs.comparison.gains[1] == 0.0
    if result.over_runs.chosen != 1:
        assert "With seed 1: The training of PReLU" in result.verdict


def test_runs_continue_from_checkpoints(original, digits, tmp_path, monkeypatch):
    def tuned():
        return kp.finetune(
            original, *digits, recipe="identity", runs=2, checkpoints=tmp_path / "states", epochs=1
        )

    class InterruptedRunError(Exception):
        pass

    compare = runs_module.train_and_compare

    def interrupting(start, trainer, **settings):
        if trainer.run == 1:
            raise InterruptedRunError
        return compare(start, trainer, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(runs_module, "train_and_compare", interrupting)
        with pytest.raises(InterruptedRunError):
            tuned()
    continued = tuned()
    assert (tmp_path / "states" / "run_1_model.npz").exists()
    fresh = kp.finetune(original, *digits, recipe="identity", runs=2, epochs=1)
    assert continued.over_runs == fresh.over_runs
    for one, other in zip(continued.model.get_weights(), fresh.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cost_is_said_in_one_sentence():
    settings = {"epochs": 10, "budget": 3.0, "control": True, "further": 0}
    assert described_cost(3, recipe="auto", **settings) == (
        "3 runs are 6 to 9 trainings of 10 epochs, after one search that costs 2 of them."
    )
    assert described_cost(5, recipe="", **settings) == "5 runs are 10 trainings of 10 epochs."
    alone = {**settings, "control": False, "further": 1}
    assert described_cost(2, recipe="identity", **alone) == "2 runs are 4 trainings of 10 epochs."
