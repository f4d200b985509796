"""tools.calibration: it runs from its one command, and its tables are those of its stored results."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from tools.calibration import __main__ as command
from tools.calibration.applications import Application
from tools.calibration.measure import Cost, Kept, Memory
from tools.calibration.quantization import Quantized, scale_badly, with_stock_prelus
from tools.calibration.report import Results, markdown
from tools.calibration.tasks import tasks

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # scikit-learn's and Keras's, about training
def test_a_small_part(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "MEMORY", (("spilled", 200),))
    monkeypatch.setattr("tools.calibration.applications.WAYS", ("none", "calibrated"))
    monkeypatch.setattr("tools.calibration.applications.STEPS", 1)
    monkeypatch.setattr("tools.calibration.applications.SAMPLES", 40)
    arguments = ["--only", "diabetes", "--seeds", "1", "--depth", "2", "--application", "MobileNetV2", "--output", str(tmp_path)]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "results.json").read_text())
    errors = {record["rescale"]: record["error"] for record in records["kept"]}
    assert set(errors) == {"none", "analytic", "moments", "calibrated", "auto"}
    assert errors["calibrated"] < 0.1 * errors["none"]
    assert records["cost"][0]["predictions"] > 1
    assert "| diabetes regression |" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.tensorflow
def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand; versions are those of the run."""
    records = json.loads((FOLDER / "results.json").read_text())
    kinds = {"kept": Kept, "quantized": Quantized, "applications": Application, "cost": Cost, "memory": Memory}
    results = Results(**{name: tuple(kind(**record) for record in records[name]) for name, kind in kinds.items()})
    assert len({(item.task, item.seed) for item in results.kept}) == 30
    assert all(getattr(results, name) for name in kinds)
    assert rows(markdown(results)) == rows((FOLDER / "RESULTS.md").read_text())


@pytest.mark.tensorflow
def test_channels_scaled_badly_compute_the_same_and_stock_prelus_too():
    model = kp.convert(next(iter(tasks())).build(), rescale="none")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    before, kernel = model.predict(x, verbose=0), model.layers[0].get_weights()[0]
    scale_badly(model, 0)
    assert not np.allclose(kernel, model.layers[0].get_weights()[0])
    np.testing.assert_allclose(model.predict(x, verbose=0), before, atol=1e-5 * np.abs(before).max())
    stock = with_stock_prelus(model)
    assert not any(isinstance(layer, kp.PReLU) for layer in stock.layers)
    np.testing.assert_allclose(stock.predict(x, verbose=0), before, atol=1e-5 * np.abs(before).max())


def rows(text):
    return [line for line in text.splitlines() if line.startswith(("|", "Time"))]
