"""`keras-prelu export`."""

import json
import os
import re

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.cli.drawn_samples import class_numbers
from keras_prelu.cli.sample_records import SampleRecord
from keras_prelu.deployment import export as deployment
from keras_prelu.deployment.benchmark import Cost
from tests.integration.cli import stored
from tests.integration.cli.commands import invoke, invoke_json
from tests.integration.cli.test_usage import check_refused

pytestmark = pytest.mark.usefixtures("folder")

RECORD = deployment.Export(
    path="model.onnx",
    format="onnx",
    quantize=None,
    bytes=1234,
    operations={"PRelu": 2, "Gemm": 2},
    runtime="onnxruntime 1.2",
    samples=128,
    random=False,
    difference=1.5e-6,
    error=2.5e-12,
    tolerance=1e-4,
    accuracy=90.5,
    accuracy_of_model=91.5,
    accuracy_samples=360,
    pruning_error=1.5e-3,
    cost=Cost(
        milliseconds=0.125,
        milliseconds_with_relu=0.12,
        ratio=1.04,
        low=1.01,
        high=1.07,
        size_ratio=1.01,
        threads=1,
    ),
)


@pytest.fixture
def calls(monkeypatch):
    """The calls of `export`, which writes nothing and returns a record."""
    calls = []

    def export(model, path, format, **settings):
        calls.append(settings)
        return RECORD

    monkeypatch.setattr(deployment, "export", export)
    return calls


def test_options_reach_the_library(calls):
    stored.check("export", invoke("export prelu.keras -o model.onnx --data digits").output)
    invoke("export prelu.keras -o model.onnx --force")
    arguments = "export prelu.keras -o again.onnx --data labelled.npz --samples 50 --prune 0.1"
    # On the other backends, the option is refused.
    optimize_for = "cpu" if keras.backend.backend() == "tensorflow" else None
    option = f"--optimize-for {optimize_for}" if optimize_for else ""
    record = invoke_json(arguments, f"{option} --measure --opset 15 --tolerance 0.1")
    assert record["cost"]["ratio"] == 1.04
    _, without_data, settings = calls
    assert without_data["samples"] is without_data["test"] is None
    assert settings.pop("samples").shape == (50, 8, 8, 1)
    x, y = settings.pop("test")
    assert (x.shape, y.shape) == ((50, 8, 8, 1), (50,))
    assert settings == {
        "quantize": None,
        "opset": 15,
        "optimize_for": optimize_for,
        "frozen": False,
        "measure": True,
        "force": False,
        "prune": 0.1,
        "tolerance": 0.1,
    }


def test_accuracy_is_of_samples_that_were_not_trained_on(calls, folder):
    """A fine-tuning leaves a record of them; the data set's test samples count before its others."""
    with np.load("labelled.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    samples = kp.data.Samples(x[:150], y[:150])
    record = SampleRecord.of(samples, kp.data.Samples(x[150:], y[150:]))
    (folder / "prelu.training.json").write_text(json.dumps(record.as_json()))
    output = invoke("export prelu.keras -o model.onnx --data labelled.npz").output
    assert "150 of 200 samples were used to train prelu.keras and are left out." in output
    (call,) = calls
    assert sorted(map(bytes, call["test"][0])) == sorted(map(bytes, x[150:]))
    assert call["samples"].shape[0] == 200  # For the check and for the ranges of int8.
    assert "caution" in invoke_json("export prelu.keras -o model.onnx --data digits --force")
    assert len(calls[-1]["test"][1]) == 360


@pytest.mark.parametrize(
    ("labels", "units", "expected"),
    [
        ([0, 1, 1], 1, [0, 1, 1]),
        ([[0.0], [1.0], [1.0]], 1, [0, 1, 1]),
        ([True, False, True], 1, [1, 0, 1]),
        ([0, 2, 1], 1, None),
        ([0.5, 1.5, 2.5], 1, None),
        ([0, 2, 1], 3, [0, 2, 1]),
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], 3, [2, 0, 1]),
        ([[0, 1, 1], [1, 0, 0], [0, 1, 0]], 3, None),
        ([0.0, 2.0, 1.0], 3, None),
    ],
)
def test_class_numbers(labels, units, expected):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(units)])
    found = class_numbers(np.array(labels), model)
    assert (found if expected is None else found.tolist()) == expected


@pytest.mark.slow  # Another process checks the file.
@pytest.mark.usefixtures("forked_readers")
def test_a_keras_file():
    arguments = "export prelu.keras -o stock.keras"
    output = invoke(arguments, "--data samples.npz").output
    assert "without keras_prelu on 128 samples: largest difference" in output
    assert f"Wrote stock.keras ({os.path.getsize('stock.keras'):,} bytes)." in output
    assert "exists" in invoke(arguments, expect=1).stderr
    record = invoke_json(arguments, "--force")
    assert (record["format"], record["random"]) == ("keras", True)


@pytest.mark.tensorflow
def test_tensorflow_lite():
    arguments = "export prelu.keras --data samples.npz -o"
    assert invoke_json(arguments, "model.tflite")["operations"]["PRELU"] == 2
    quantized = invoke_json(arguments, "int8.tflite --quantize int8 --samples 50 --tolerance 2")
    assert quantized["bytes"] < os.path.getsize("model.tflite")
    error = invoke("export prelu.keras -o new.tflite --quantize int8", expect=2).stderr
    assert "--data" in error


@pytest.mark.slow
@pytest.mark.tensorflow
def test_onnx():
    arguments = "export prelu.keras -o model.onnx --optimize-for cpu --measure --prune 0.5"
    output = invoke(arguments, "--data digits").output
    assert re.search(r"Accuracy on 360 samples of digits: \d+\.\d\d %, of the model \d+", output)
    assert "pruning itself changed" in output
    assert re.search(r"One sample on one thread: .* times as long \(quartiles", output)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("-o model.bin", 2, "suffix of no known format"),
        ("-o missing/model.onnx", 1, "does not exist"),
        ("-o model.onnx --quantize int8", 2, "--quantize is for the format 'tflite'"),
        ("-o model.tflite --opset 15", 2, "--opset is for the format 'onnx'"),
        ("-o model.onnx --format tflite", 1, "must end in .tflite"),
    ],
)
def test_outputs_that_are_refused(arguments, status, message):
    check_refused(f"export prelu.keras {arguments}", status, message)
