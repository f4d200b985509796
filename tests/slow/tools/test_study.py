"""tools.study: it runs from its one command and goes on where it was; its table is that of its
stored results."""

import types
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.recipes import RECIPES
from tests.slow.tools.reports import check_stored, run
from tools.common.storage import Storage
from tools.study import __main__ as command
from tools.study import measure
from tools.study.intervals import SIZES, simulations
from tools.study.measure import Result
from tools.study.rates import RATES, rate_tasks
from tools.study.report import REPORT, change, study
from tools.study.tasks import tasks

FOLDER = Path(command.__file__).parent


@pytest.mark.filterwarnings("ignore")  # scikit-learn's and Keras's, about training
def test_a_small_part_and_that_it_goes_on(tmp_path, monkeypatch):
    shorter = [replace(task, epochs=4) for task in tasks() if task.name.startswith("wine")]
    monkeypatch.setattr(command, "tasks", lambda: iter(shorter))
    arguments = ["--part", "recipes", "--only", "wine", "--seeds", "1"]
    (result,) = run(command, tmp_path, *arguments).results("recipes")
    assert {"relu", "identity", "shrink-identity", "auto"} <= set(result.errors)
    assert set(result.controls) == {"relu", "exp", *CONTROLS}
    assert result.chosen in {recipe.name for recipe in RECIPES}
    assert "| wine, MLP 2 × 8 units |" in (tmp_path / "RESULTS.md").read_text()
    changed = replace(result, errors={**result.errors, "exp": 123.0})
    Storage(tmp_path, REPORT).merge("recipes", [changed])
    # What is measured is not measured again.
    monkeypatch.setattr(measure, "measure", None)
    monkeypatch.setattr(measure, "with_controls", None)
    assert run(command, tmp_path, *arguments).results("recipes") == (changed,)


def test_controls_are_paired_with_what_was_trained_beside_them(monkeypatch):
    """A classifier that is right on three quarters, the ReLU control on half; whatever was stored
    of other runs."""
    model = types.SimpleNamespace(loss=keras.losses.SparseCategoricalCrossentropy())
    prelu, relu, *others = [
        types.SimpleNamespace(score_after=score) for score in (0.75, 0.5, 0.25, 0.0)
    ]
    controls = [
        types.SimpleNamespace(name=name, trained=trained)
        for name, trained in zip(CONTROLS, others, strict=True)
    ]
    tuned = types.SimpleNamespace(model=model, prelu=prelu, control=relu, controls=controls)
    monkeypatch.setattr(measure, "trained", lambda task, seed: None)
    monkeypatch.setattr(measure, "_tuned", lambda *arguments, **settings: tuned)
    results = [
        measure.with_controls(
            result("t", seed, {"exp": 1.0, "relu": 2.0, "auto": 1.0}),
            types.SimpleNamespace(name="t"),
        )
        for seed in range(2)
    ]
    assert results[0].controls == {
        "relu": 50.0,
        "exp": 25.0,
        **dict(zip(CONTROLS, (75.0, 100.0), strict=True)),
    }
    assert "| t | 2 | **-50 ± 0** | **+50 ± 0** | **+100 ± 0** | **-66.7 ± 0.0** |" in study(
        results
    )


def test_the_stored_table_is_of_the_stored_results():
    results = check_stored(FOLDER, REPORT).results("recipes")
    assert {result.task for result in results} == {task.name for task in tasks()}


@pytest.mark.filterwarnings("ignore")
def test_rates_are_measured_beside_the_incoming_network(tmp_path, monkeypatch):
    shorter = [replace(task, epochs=3) for task in rate_tasks() if task.name.startswith("digits")]
    monkeypatch.setattr(command, "rate_tasks", lambda: iter(shorter))
    results = run(command, tmp_path, "--part", "rates", "--seeds", "1").results("rates")
    assert [result.rate for result in results] == list(RATES)
    assert len({result.errors["incoming"] for result in results}) == 1
    assert "| digits, MLP 2 × 128 units | relu, error |" in (tmp_path / "RESULTS.md").read_text()


def test_stored_verdicts_keep_their_error():
    results = check_stored(FOLDER, REPORT).results("verdict")
    used = [result for result in results if result.method == "in use"]
    assert {result.samples for result in used} == set(SIZES)
    for result in used:
        error = 3 * (0.05 * 0.95 / result.trials) ** 0.5
        assert result.wrong <= 0.05 + error


def test_verdicts_are_simulated_as_stored():
    """A case of each kind again, with the same seeds."""
    stored = check_stored(FOLDER, REPORT).results("verdict")
    again = list(simulations(40, sizes=(20,)))
    for result in again:
        (same,) = [
            one
            for one in stored
            if (one.scores, one.shape, one.truth, one.method, one.samples)
            == (result.scores, result.shape, result.truth, result.method, result.samples)
        ]
        spread = (0.25 / result.trials) ** 0.5
        assert abs(result.wrong - same.wrong) <= 3 * spread


def test_changes_are_paired_by_seed():
    results = [
        result("t", seed, {"relu": relu, "auto": auto})
        for seed, relu, auto in [(0, 10, 9), (1, 20, 18), (2, 30, 30)]
    ]
    np.testing.assert_allclose(change(results, "auto"), [-5.0, -10.0, 0.0])
    assert len(change(results, "exp")) == 0


def result(task, seed, errors):
    return Result(task=task, seed=seed, dead=0, units=4, errors=errors, chosen="exp")
