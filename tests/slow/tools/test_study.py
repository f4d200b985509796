"""tools.study: it runs from its one command and goes on where it was; its table is that of its
stored results."""

import json
import types
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.recipes import RECIPES
from tools.study import __main__ as command
from tools.study import measure
from tools.study.measure import Result
from tools.study.report import change, interval, markdown
from tools.study.tasks import tasks

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # scikit-learn's and Keras's, about training
def test_a_small_part_and_that_it_goes_on(tmp_path, monkeypatch):
    shorter = [replace(task, epochs=12) for task in tasks() if task.name.startswith("wine")]
    monkeypatch.setattr("tools.study.tasks.tasks", lambda: iter(shorter))
    arguments = ["--only", "wine", "--seeds", "1", "--output", str(tmp_path)]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    (record,) = json.loads((tmp_path / "results.json").read_text())
    assert {"relu", "exp", "identity", "exp-fast", "exp-half", "auto"} <= set(record["errors"])
    assert set(record["controls"]) == {"relu", "exp", *CONTROLS}
    assert record["chosen"] in {recipe.name for recipe in RECIPES}
    assert "| wine, MLP 2 × 8 units |" in (tmp_path / "RESULTS.md").read_text()
    record["errors"]["exp"] = 123.0
    (tmp_path / "results.json").write_text(json.dumps([record]))
    monkeypatch.setattr(
        "tools.study.measure.measure", None
    )  # what is measured is not measured again
    monkeypatch.setattr("tools.study.measure.with_controls", None)
    assert CliRunner().invoke(command.main, arguments).exit_code == 0
    assert json.loads((tmp_path / "results.json").read_text()) == [record]


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
            Result("t", seed, 0, 4, {"exp": 1.0, "relu": 2.0, "auto": 1.0}, "exp"),
            types.SimpleNamespace(name="t"),
        )
        for seed in range(2)
    ]
    assert results[0].controls == {
        "relu": 50.0,
        "exp": 25.0,
        **dict(zip(CONTROLS, (75.0, 100.0), strict=True)),
    }
    assert "| t | 2 | **-50 ± 0** | **+50 ± 0** | **+100 ± 0** | **-66.7 ± 0.0** |" in markdown(
        results
    )


def test_the_stored_table_is_of_the_stored_results():
    results = [Result(**record) for record in json.loads((FOLDER / "results.json").read_text())]
    assert {result.task for result in results} == {task.name for task in tasks()}
    assert rows(markdown(results)) == rows((FOLDER / "RESULTS.md").read_text())


def test_changes_are_paired_by_seed():
    results = [
        Result("t", seed, 0, 4, {"relu": relu, "auto": auto}, "exp")
        for seed, relu, auto in [(0, 10, 9), (1, 20, 18), (2, 30, 30)]
    ]
    np.testing.assert_allclose(change(results, "auto"), [-5.0, -10.0, 0.0])
    low, high = interval(change(results, "auto"))
    expected = stats.ttest_1samp([-5.0, -10.0, 0.0], 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([low, high], expected)
    assert len(change(results, "exp")) == 0


def rows(text):
    return [
        line
        for line in text.splitlines()
        if line.startswith(("|", '"auto" is', "Its mean", "It beats"))
    ]
