"""tools.deployment: it runs from its one command, and its tables are those of its stored results."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.calibration.applications import NAMES
from tools.deployment import __main__ as command
from tools.deployment.matrix import FORMS, rows
from tools.deployment.report import Results, markdown

FOLDER = Path(command.__file__).parent


def run(output, *arguments):
    result = CliRunner().invoke(command.main, ["--output", str(output), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # Keras's, about training
def test_a_small_part(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.calibration.applications.NAMES", ("MobileNet", "MobileNetV2"))
    monkeypatch.setattr("tools.deployment.matrix.FORMS", {"tflite": ("model.tflite", {}), "onnx": ("model.onnx", {})})
    asked = []

    def rows_of_this_process(network, forms):
        asked.append((network, *forms))
        return list(rows(network, forms, 32))

    monkeypatch.setattr("tools.deployment.matrix.rows_of_a_process", rows_of_this_process)
    run(tmp_path, "--part", "matrix", "--only", "V2")
    monkeypatch.setattr("tools.deployment.matrix.FORMS", {"onnx": ("model.onnx", {}), "tflite": ("model.tflite", {})})
    run(tmp_path, "--part", "matrix", "--only", "V2")  # not measured: stored
    assert asked == [("MobileNetV2", "tflite", "onnx")]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| MobileNetV2 | 35 (35) | tflite | 35 PRELU, 35 MINIMUM |" in text
    found = Results.load(tmp_path).matrix
    assert all(row.difference <= 1e-5 for row in found)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_int8_of_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "QUANTIZED", ("digits conv",))
    run(tmp_path, "--part", "int8", "--seeds", "1")
    relu, prelu, equalized = Results.load(tmp_path).int8
    assert relu.width == 1.0
    assert min(prelu.width, equalized.width) > 1.0
    assert min(item.int8 for item in (relu, prelu, equalized)) > 85


def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand."""
    results = Results.load(FOLDER)
    assert {(row.network, row.form) for row in results.matrix} == {(name, form) for name in NAMES for form in FORMS}
    assert len(results.int8) == 2 * 3 * 3
    assert markdown(results) == (FOLDER / "RESULTS.md").read_text()
