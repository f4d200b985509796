"""tools.deployment: it runs from its one command, and its tables are those of its stored
results."""

import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.deployment import __main__ as command
from tools.deployment import matrix
from tools.deployment.matrix import FORMS, NETWORKS, row_of
from tools.deployment.report import Results, markdown

FOLDER = Path(command.__file__).parent


def run(output, *arguments):
    result = CliRunner().invoke(
        command.main, ["--output", str(output), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # Keras's, about training
def test_a_small_part(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "NETWORKS", ("MobileNet", "MobileNetV2"))
    monkeypatch.setattr(
        matrix, "FORMS", {"tflite": ("model.tflite", {}), "onnx": ("model.onnx", {})}
    )
    asked = []

    def row_of_this_process(network, form):
        asked.append((network, form))
        return row_of(network, form, 32)

    monkeypatch.setattr(matrix, "row_of_a_process", row_of_this_process)
    run(tmp_path, "--part", "matrix", "--only", "V2")
    monkeypatch.setattr(
        matrix, "FORMS", {"onnx": ("model.onnx", {}), "tflite": ("model.tflite", {})}
    )
    run(tmp_path, "--part", "matrix", "--only", "V2")  # not measured: stored
    assert asked == [("MobileNetV2", "tflite"), ("MobileNetV2", "onnx")]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| MobileNetV2 | 35 (35) | tflite | 35 PRELU, 35 MINIMUM |" in text
    found = Results.load(tmp_path).matrix
    assert all(row.difference <= 1e-5 for row in found)


def test_a_process_that_is_killed_is_a_row(monkeypatch):
    monkeypatch.setattr(
        matrix.subprocess,
        "run",
        lambda command, **kwargs: subprocess.CompletedProcess(command, -signal.SIGKILL, "", ""),
    )
    killed = matrix.row_of_a_process("VGG16", "onnx")
    whole = replace(
        killed, form="keras", sites=15, operations={"PReLU": 15}, difference=0.0, failure=""
    )
    text = markdown(Results((whole, killed)))
    assert "| VGG16 | 15 | onnx | – | – | – | – | – |" in text
    assert "- VGG16, onnx: the exporter ran out of memory" in text


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
    assert {(row.network, row.form) for row in results.matrix} == {
        (name, form) for name in NETWORKS for form in FORMS
    }
    assert len(results.int8) == 2 * 3 * 3
    assert markdown(results) == (FOLDER / "RESULTS.md").read_text()
