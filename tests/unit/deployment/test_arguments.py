"""keras_prelu.deployment.arguments: what can't be exported is refused before any work is done."""

import os
import re
from pathlib import Path

import keras
import pytest

import keras_prelu as kp
from keras_prelu.deployment.arguments import check_export
from keras_prelu.deployment.formats.registry import FORMATS
from keras_prelu.errors import ExportError, FileError, InvalidArgumentError
from tests.helpers import models

BACKEND = keras.backend.backend()
SUFFIXES = {
    "keras": ".keras",
    "saved_model": "",
    "tflite": ".tflite",
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch": ".pt2",
    "executorch": ".pte",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def on_tensorflow(monkeypatch):
    """As if on TensorFlow, with every package installed."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def check(path, format=None, **changes):
    arguments = {
        "quantize": None,
        "opset": None,
        "optimize_for": None,
        "frozen": False,
        "measure": False,
        "force": False,
        **changes,
    }
    return check_export(Path(path), format, **arguments)


def test_formats_have_the_names_and_suffixes_of_the_documentation():
    assert {name: cls.suffix for name, cls in FORMATS.items()} == SUFFIXES
    assert all(cls.name == name for name, cls in FORMATS.items())


@pytest.mark.usefixtures("on_tensorflow")
@pytest.mark.parametrize("name", ["keras", "saved_model", "tflite", "onnx", "openvino"])
def test_the_suffix_names_the_format(name):
    assert check(f"model{SUFFIXES[name]}").name == name
    assert check(f"model{SUFFIXES[name]}", name).name == name


@pytest.mark.parametrize(
    ("path", "format", "arguments", "message"),
    [
        ("model.pb", None, {}, r"'model\.pb' has a suffix of no known format. Known: \.keras, "),
        ("model.keras", "pb", {}, "`format` must be one of 'keras', .* Received: 'pb'"),
        ("model.tflite", None, {"quantize": "int4"}, "must be one of 'float16', .*'int4'"),
        (
            "model.onnx",
            None,
            {"quantize": "int8"},
            "`quantize` is for the format 'tflite'. Received: quantize='int8', format='onnx'",
        ),
        ("model.keras", None, {"opset": 15}, "`opset` is for the format 'onnx'.*opset=15"),
        ("model.onnx", None, {"opset": 8}, "`opset` must be an integer of at least 9.*opset=8"),
        ("model.onnx", None, {"opset": "15"}, "`opset` must be an integer"),
        ("model.tflite", None, {"optimize_for": "cpu"}, "is for the format 'onnx'"),
        ("model.onnx", None, {"frozen": True}, "is for the format 'saved_model'"),
        ("model.onnx", None, {"optimize_for": "gpu"}, "must be 'cpu' or None"),
        (
            "model.keras",
            None,
            {"measure": True},
            "is for formats with a runtime of their own: 'saved_model', 'tflite', 'onnx',"
            " 'openvino', 'torch', 'executorch'",
        ),
    ],
)
def test_arguments_that_do_not_fit(path, format, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        check(path, format, **arguments)
    with pytest.raises(InvalidArgumentError, match=message):
        kp.export(models.mlp(), path, format, **arguments)
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("model.onnx", "keras", r"must end in \.keras"),
        ("missing/model.keras", None, "does not exist"),
        ("folder.keras", None, "is a folder"),
        ("old.keras", None, "exists"),
    ],
)
def test_outputs_that_can_not_be_written(path, format, message):
    Path("folder.keras").mkdir()
    Path("old.keras").touch()
    with pytest.raises(FileError, match=message):
        check(path, format)


@pytest.mark.usefixtures("on_tensorflow")
def test_each_file_of_an_export_is_checked():
    Path("model.bin").touch()
    with pytest.raises(FileError, match=r"model\.bin' exists"):
        check("model.xml")
    assert check("model.xml", force=True).name == "openvino"


@pytest.mark.parametrize(
    ("path", "backend"), [("model.tflite", "tensorflow"), ("model", "tensorflow")]
)
def test_another_backend_is_told(monkeypatch, path, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ExportError, match=f"KERAS_BACKEND={backend}"):
        check(path)


def test_pytorchs_format_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ExportError, match="KERAS_BACKEND=torch"):
        check("model.pt2")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(keras, "version", lambda: "3.14.1")
    with pytest.raises(ExportError, match=r"needs Keras 3\.15, and this is 3\.14\.1"):
        check("model.pt2")


@pytest.mark.parametrize(
    ("backend", "packages", "path"),
    [
        ("tensorflow", "'keras-prelu[onnx]'", "model.onnx"),
        ("jax", "'keras-prelu[onnx]' jax2onnx", "model.onnx"),
        ("tensorflow", "'keras-prelu[openvino]'", "model.xml"),
    ],
)
def test_missing_packages_are_told_with_the_command(monkeypatch, backend, packages, path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(ExportError, match=re.escape(f"pip install {packages}.")):
        check(path)


@pytest.mark.usefixtures("on_tensorflow")
def test_int8_needs_samples_and_so_do_labels():
    for quantize in ("int8", "int16x8"):
        with pytest.raises(InvalidArgumentError, match=f"'{quantize}'.*give a few hundred"):
            kp.export(models.mlp(), "model.tflite", quantize=quantize)
    with pytest.raises(InvalidArgumentError, match="give both, or none"):
        kp.export(models.mlp(), "model.tflite", labels=[0])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_an_option_without_effect_is_refused(monkeypatch, backend):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    with pytest.raises(
        ExportError, match=rf"on {backend} the channels .* KERAS_BACKEND=tensorflow"
    ):
        check("model.onnx", optimize_for="cpu")
