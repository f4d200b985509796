"""keras_prelu.deployment.export: every format, run by its own runtime."""

import os

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.deployment import benchmark
from keras_prelu.deployment.formats import FORMATS
from keras_prelu.deployment.formats.tflite import TensorFlowLite
from tests.helpers import custom, models
from tests.unit.conversion.test_bake import with_slopes

pytestmark = pytest.mark.tensorflow
L = keras.layers

PATHS = {
    "keras": "model.keras",
    "saved_model": "model",
    "tflite": "model.tflite",
    "onnx": "model.onnx",
    "openvino": "model.xml",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(name):
    return ["model.bin", "model.xml"] if name == "openvino" else [PATHS[name]]


def converted(build):
    return with_slopes(kp.convert(models.live_in(build()), rescale="none"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "build", [models.residual, models.siamese, models.two_outputs, models.nested]
)
@pytest.mark.parametrize("name", PATHS)
def test_the_runtime_computes_what_the_model_does(name, build):
    model = converted(build)
    record = kp.export(model, PATHS[name], samples=models.samples(model, 16))
    assert (record.format, record.samples, record.random) == (name, 16, False)
    assert record.difference <= 1e-5
    assert record.error <= 1e-9
    assert sorted(os.listdir()) == files(name)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("name", "one", "cap"),
    [("tflite", "PRELU", "MINIMUM"), ("onnx", "PRelu", "Min"), ("openvino", "PRelu", "Minimum")],
)
def test_one_operation_a_site_and_one_a_cap(name, one, cap):
    rest = {"RELU", "NEG", "RELU6", "SELECT_V2", "Relu", "Neg", "Clip", "ReLU", "Clamp", "Select"}
    plain, capped = (
        kp.export(converted(build), PATHS[name], force=True).operations
        for build in (models.residual, models.capped)
    )
    assert plain[one] == 5
    assert (capped[one], capped[cap]) == (2, 2)
    assert not rest & (set(plain) | set(capped))


@pytest.mark.usefixtures("folder")
def test_simple_slopes_become_simple_operations():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            kp.PReLU(0.0, parameterization="identity", max_value=6.0),
            L.Dense(4),
            kp.PReLU(0.3),
            L.Dense(4),
            kp.PReLU([0.1, 0.2, 0.3, -0.4], parameterization="identity"),
        ]
    )
    operations = kp.export(model, "model.tflite").operations
    assert (operations["LEAKY_RELU"], operations["PRELU"]) == (1, 1)
    assert "MINIMUM" not in operations


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_quantized_files_are_smaller_and_near(quantize):
    inputs = keras.Input((12, 12, 3))
    x = L.ReLU()(L.Conv2D(32, 3)(inputs))
    x = L.ReLU()(L.Conv2D(32, 3)(x))
    model = with_slopes(
        kp.convert(keras.Model(inputs, L.Dense(64)(L.GlobalAveragePooling2D()(x))), rescale="none")
    )
    samples = models.samples(model, 64)
    whole = kp.export(model, "whole.tflite", samples=samples)
    record = kp.export(model, "model.tflite", quantize=quantize, samples=samples)
    assert record.bytes < 0.7 * whole.bytes
    assert 0 < record.difference <= record.tolerance
    assert record.operations["PRELU"] == 2


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["saved_model", "tflite", "onnx", "openvino"])
def test_slopes_inside_python_code_are_exported_too(name):
    inputs = keras.Input((6, 6, 3))
    model = kp.convert(models.live_in(keras.Model(inputs, custom.Block(4)(inputs))), rescale="none")
    record = kp.export(model, PATHS[name])
    assert record.random
    assert record.difference <= 1e-5
    assert not {"Relu", "Neg", "RELU", "NEG"} & set(record.operations)


@pytest.mark.usefixtures("folder")
def test_a_keras_file_of_layers_of_the_users_own_is_loaded_with_their_modules():
    inputs = keras.Input((6, 6, 3))
    x = custom.Block(4)(L.ReLU()(L.Conv2D(4, 3)(inputs)))
    model = kp.convert(
        models.live_in(keras.Model(inputs, x)), rescale="none", include=L.ReLU, exclude="block*"
    )
    record = kp.export(model, "model.keras")
    assert record.operations["Block"] == 1
    assert record.difference <= 1e-6


@pytest.mark.usefixtures("folder")
def test_a_runtime_that_computes_something_else_is_told_and_nothing_is_kept(monkeypatch):
    """With the second output off by a hundredth of its largest."""
    model = converted(models.two_outputs)
    load = TensorFlowLite.load

    def load_wrong(self, path):
        right = load(self, path)

        def run(inputs):
            first, second = right(inputs)
            second[0, 0] += 0.01 * np.abs(second).max()
            return [first, second]

        return run

    monkeypatch.setattr(TensorFlowLite, "load", load_wrong)
    with pytest.raises(kp.errors.ExportError, match=r"computes something else, by 0\.01"):
        kp.export(model, "model.tflite")
    assert os.listdir() == []
    assert kp.export(model, "model.tflite", tolerance=0.02).tolerance == 0.02


@pytest.mark.usefixtures("folder")
def test_a_class_of_the_running_script_is_told(monkeypatch):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, custom.Block(4)(inputs))
    monkeypatch.setattr(custom.Block, "__module__", "__main__")
    with pytest.raises(
        kp.errors.ExportError, match=r"'block.*class Block, which the running script defines"
    ):
        kp.export(model, "model.keras")
    assert os.listdir() == []


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", PATHS)
def test_an_existing_output_is_replaced_on_request_alone(name):
    model = converted(models.mlp)
    kp.export(model, PATHS[name])
    with pytest.raises(kp.errors.FileError, match="exists"):
        kp.export(model, PATHS[name])
    kp.export(converted(models.mlp), PATHS[name], force=True)
    assert sorted(os.listdir()) == files(name)


@pytest.mark.usefixtures("folder")
def test_a_subclassed_model_is_exported_with_samples():
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    model = custom.Classifier()
    model(x)
    model = kp.convert(model, rescale="none")
    with pytest.raises(kp.errors.ExportError, match="give `samples`"):
        kp.export(model, "model.tflite")
    assert kp.export(model, "model.tflite", samples=x).difference <= 1e-5


@pytest.mark.usefixtures("folder")
def test_what_a_format_can_not_hold_is_one_line():
    """TensorFlow Lite adds no volumes of slopes."""
    with pytest.raises(kp.errors.ExportError, match="can't be exported to tflite") as caught:
        kp.export(converted(models.volumes), "model.tflite")
    assert "\n" not in str(caught.value)
    assert os.listdir() == []


@pytest.mark.usefixtures("folder")
def test_missing_packages_and_backends_are_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(kp.errors.ExportError, match="pip install onnx onnxruntime tf2onnx"):
        kp.export(models.mlp(), "model.onnx")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(kp.errors.ExportError, match="KERAS_BACKEND=tensorflow"):
        kp.export(models.mlp(), "model.tflite")


@pytest.mark.usefixtures("folder")
def test_pruning_is_measured_apart():
    model = converted(models.mlp)
    assert kp.export(model, "whole.tflite").pruning_error is None
    record = kp.export(model, "pruned.tflite", prune=1.0)
    assert record.pruning_error > 1e-4
    assert record.difference <= 1e-5
    assert "PRELU" not in record.operations


@pytest.mark.usefixtures("folder")
def test_integers_are_given_in_the_type_that_the_model_takes():
    inputs = keras.Input((5,), dtype="int32")
    x = L.GlobalAveragePooling1D()(L.Embedding(10, 4)(inputs))
    model = kp.convert(
        keras.Model(inputs, L.Dense(2)(L.Dense(6, activation="relu")(x))), rescale="none"
    )
    assert (
        kp.export(
            model, "model.onnx", samples=np.arange(10, dtype="int64").reshape(2, 5)
        ).difference
        <= 1e-5
    )
    assert kp.export(model, "model.tflite").random


@pytest.mark.usefixtures("folder")
def test_accuracy_is_that_of_labels():
    """Three of the four labels are what the model says."""
    model = converted(models.mlp)
    x = models.samples(model, 4)
    labels = keras.ops.convert_to_numpy(model(x)).argmax(-1)
    labels[0] = (labels[0] + 1) % 3
    record = kp.export(model, "model.tflite", samples=x, labels=labels)
    assert (record.accuracy, record.accuracy_of_model) == (75.0, 75.0)
    assert kp.export(model, "other.tflite", samples=x).accuracy is None
    for wrong in (labels[:3], labels.astype("float32"), np.eye(3, dtype=int)[labels]):
        with pytest.raises(
            kp.errors.InvalidArgumentError, match="must be class numbers, one for each sample"
        ):
            kp.export(model, "wrong.tflite", samples=x, labels=wrong)
    with pytest.raises(kp.errors.InvalidArgumentError, match="give both"):
        kp.export(model, "wrong.tflite", labels=labels)
    assert sorted(os.listdir()) == ["model.tflite", "other.tflite"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("build", [models.residual, models.capped])
def test_activations_in_the_form_for_cpus_compute_the_same(build):
    model = converted(build)
    record = kp.export(model, "model.onnx", samples=models.samples(model, 16), optimize_for="cpu")
    assert record.difference <= 1e-5
    assert not {"PRelu", "Min"} & set(record.operations)
    assert record.operations["Relu"] == sum(isinstance(layer, kp.PReLU) for layer in model.layers)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["saved_model", "tflite", "onnx", "openvino"])
def test_the_cost_is_that_of_the_file_beside_one_with_relus(monkeypatch, name):
    monkeypatch.setattr(benchmark, "_ROUNDS", 3)
    model, timed = converted(models.residual), []
    load = FORMATS[name].load

    def spy(self, path, threads=None):
        timed.append((self.operations(path), threads))
        return load(self, path, threads)

    monkeypatch.setattr(FORMATS[name], "load", spy)
    cost = kp.export(model, PATHS[name], measure=True).cost
    assert cost.low <= cost.ratio <= cost.high
    assert cost.milliseconds > 0 < cost.milliseconds_with_relu
    _, (ours, threads), (relus, _) = timed
    assert threads == cost.threads == (None if name == "saved_model" else 1)
    assert sorted(os.listdir()) == files(name)
    assert 0.99 < cost.size_ratio < 1.2
    if name != "saved_model":
        kind = "PRELU" if name == "tflite" else "PRelu"
        assert ours[kind] == 5
        assert kind not in relus
        assert kp.export(model, "other" + PATHS[name][5:], prune=float("inf")).operations == relus


@pytest.mark.usefixtures("folder")
def test_slopes_inside_python_code_are_pruned_too():
    inputs = keras.Input((6, 6, 3))
    model = kp.convert(models.live_in(keras.Model(inputs, custom.Block(4)(inputs))), rescale="none")
    record = kp.export(model, "model.onnx", prune=1.0)
    assert "LeakyRelu" not in record.operations
    assert record.pruning_error > 1e-4


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("model.tflite", {"optimize_for": "cpu"}, "is for the format 'onnx'"),
        ("model.onnx", {"optimize_for": "gpu"}, "must be 'cpu' or None"),
        (
            "model.keras",
            {"measure": True},
            (
                "is for formats with a runtime of their own: 'saved_model', 'tflite', 'onnx',"
                " 'openvino', 'torch'"
            ),
        ),
    ],
)
def test_options_of_other_formats_are_refused(path, arguments, message):
    with pytest.raises(kp.errors.InvalidArgumentError, match=message):
        kp.export(models.mlp(), path, **arguments)
    assert os.listdir() == []


@pytest.mark.usefixtures("folder")
def test_what_tf2onnx_would_be_killed_for_is_refused(monkeypatch):
    model = converted(models.mlp)
    monkeypatch.setattr(
        "keras_prelu.deployment.formats.onnx.format.physical_memory",
        lambda: 44 * 4 * model.count_params(),
    )
    with pytest.raises(kp.errors.ExportError, match="KERAS_BACKEND=torch"):
        kp.export(model, "model.onnx")
    assert os.listdir() == []
    monkeypatch.setattr("keras_prelu.deployment.formats.onnx.format.physical_memory", lambda: 0)
    assert kp.export(model, "model.onnx").difference <= 1e-5
