"""tools.calibration: it runs from its one command, and its tables are those of its stored
results."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from tools.calibration import __main__ as command
from tools.calibration.applications import NAMES
from tools.calibration.quantization import scale_badly
from tools.calibration.report import Results, markdown
from tools.calibration.tasks import tasks

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # scikit-learn's and Keras's, about training
def test_a_small_part(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MEMORY", (("spilled", 200),))
    monkeypatch.setattr("tools.calibration.applications.WAYS", ("none", "calibrated"))
    monkeypatch.setattr("tools.calibration.applications.NAMES", ("MobileNet",))
    monkeypatch.setattr("tools.calibration.applications.SEARCHED", ())
    monkeypatch.setattr("tools.calibration.applications.STEPS", 1)
    monkeypatch.setattr("tools.calibration.applications.SAMPLES", 40)
    run(
        tmp_path,
        "--part",
        "kept",
        "--part",
        "cost",
        "--part",
        "memory",
        "--only",
        "diabetes",
        "--seeds",
        "1",
        "--depth",
        "2",
    )
    run(tmp_path, "--part", "applications")
    monkeypatch.setattr(
        "tools.calibration.applications.applications", None
    )  # not called: the network is stored
    run(tmp_path, "--part", "applications")
    records = json.loads((tmp_path / "results.json").read_text())
    errors = {record["rescale"]: record["error"] for record in records["kept"]}
    assert set(errors) == {"none", "analytic", "moments", "calibrated", "auto"}
    assert errors["calibrated"] < 0.1 * errors["none"]
    assert records["cost"][0]["predictions"] > 1
    assert [record["rescale"] for record in records["applications"]] == ["none", "calibrated"]
    assert "| diabetes regression |" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.tensorflow
def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand; versions
    are those of the run."""
    results = Results.load(FOLDER)
    assert len({(item.task, item.seed) for item in results.kept}) == 30
    assert {item.name for item in results.applications} == set(NAMES)
    assert all((results.cost, results.memory, results.quantized))
    assert rows(markdown(results)) == rows((FOLDER / "RESULTS.md").read_text())


@pytest.mark.tensorflow
def test_channels_scaled_badly_compute_the_same():
    model = kp.convert(next(iter(tasks())).build(), rescale="none")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    before, kernel = model.predict(x, verbose=0), model.layers[0].get_weights()[0]
    scale_badly(model, 0)
    assert not np.allclose(kernel, model.layers[0].get_weights()[0])
    np.testing.assert_allclose(
        model.predict(x, verbose=0), before, atol=1e-5 * np.abs(before).max()
    )


def run(folder, *arguments):
    result = CliRunner().invoke(command.main, [*arguments, "--output", str(folder)])
    assert result.exit_code == 0, result.output


def rows(text):
    return [line for line in text.splitlines() if line.startswith(("|", "Time"))]
