"""keras_prelu.deployment.export: every format, run by its own runtime.

Keras files, ONNX files and PyTorch's programs are tested on PyTorch, which compiles nothing;
TensorFlow's formats, and ONNX files once more, on TensorFlow.
"""

import os
from importlib.util import find_spec

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.deployment import benchmark
from keras_prelu.deployment.formats.registry import FORMATS
from tests.helpers import custom, models
from tests.helpers.models import with_slopes
from tests.helpers.versions import older

BACKEND = keras.backend.backend()
L = keras.layers

PATHS = {
    "keras": "model.keras",
    "saved_model": "model",
    "tflite": "model.tflite",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "torch": "model.pt2",
    "executorch": "model.pte",
}
writes_onnx = pytest.mark.skipif(
    BACKEND == "jax" or (BACKEND == "torch" and older("keras", "3.14")),
    reason="jax2onnx is not installed for the tests; Keras 3.13 writes a fixed batch on PyTorch",
)
writes_executorch = pytest.mark.skipif(
    BACKEND != "torch" or find_spec("executorch") is None,
    reason="the format is PyTorch's, and ExecuTorch needs a new version of it",
)
ON_ANY_BACKEND = [
    "keras",
    pytest.param("onnx", marks=writes_onnx),
    pytest.param(
        "torch",
        marks=pytest.mark.skipif(
            BACKEND != "torch" or older("keras", "3.15"),
            reason="the format is PyTorch's, since Keras 3.15",
        ),
    ),
    pytest.param("executorch", marks=writes_executorch),
]
ON_TENSORFLOW = [
    pytest.param(name, marks=pytest.mark.tensorflow, id=f"{name} on TensorFlow")
    for name in ("saved_model", "tflite", "onnx", "openvino")
]

OTHER_FORMS = {
    *("RELU", "NEG", "RELU6", "SELECT_V2", "PRELU", "LEAKY_RELU", "MAXIMUM"),
    *("Relu", "ReLU", "Neg", "Negative", "PRelu", "LeakyRelu", "Clip", "Clamp", "Select"),
}
"""Operations of forms in which a PReLU may be written."""

EACH_ONCE = [
    pytest.param("keras", marks=pytest.mark.tensorflow),
    pytest.param(
        "onnx",
        marks=[
            writes_onnx,
            pytest.mark.skipif(BACKEND != "torch", reason="on TensorFlow, see below"),
        ],
    ),
    *ON_ANY_BACKEND[2:],
    *ON_TENSORFLOW,
]
"""Each format on each backend that writes it in its own way."""

SLOW_KERAS = pytest.param("keras", marks=[pytest.mark.slow, pytest.mark.tensorflow])
SLOW_ON_TENSORFLOW = [
    pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
    for case in ON_TENSORFLOW
]


@pytest.fixture(autouse=True)
def _readers_of_keras_files(request):
    """A new process checks the Keras files of the tests that are marked so."""
    if "new_process" not in request.keywords:
        request.getfixturevalue("forked_readers")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(name):
    return ["model.bin", "model.xml"] if name == "openvino" else [PATHS[name]]


def converted(build):
    return with_slopes(kp.convert(models.live_in(build()), rescale="none"))


def check_runtime(name, build):
    model = converted(build)
    record = kp.export(model, PATHS[name], samples=models.samples(model, 16))
    assert (record.format, record.samples, record.random) == (name, 16, False)
    assert record.difference <= 1e-5
    assert record.error <= 1e-9
    assert sorted(os.listdir()) == files(name)
    return record


@pytest.mark.new_process
@pytest.mark.parametrize("name", ON_ANY_BACKEND + ON_TENSORFLOW)
def test_the_runtime_computes_what_the_model_does(name):
    check_runtime(name, models.residual)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build", [models.siamese, models.two_outputs, models.nested, models.capped]
)
@pytest.mark.parametrize("name", EACH_ONCE)
def test_the_runtime_computes_what_models_of_every_kind_do(name, build):
    check_runtime(name, build)


@writes_onnx
@pytest.mark.parametrize("build", [models.siamese, models.two_outputs])
def test_inputs_and_outputs_have_names(build):
    check_runtime("onnx", build)


@pytest.mark.tensorflow
def test_constants_of_normalization_are_no_inputs_of_an_onnx_file():
    inputs = keras.Input((8, 8, 3))
    fixed = L.Normalization(axis=-1, mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0])
    adapted = L.Normalization(axis=-1)
    adapted.adapt(np.random.default_rng(0).normal(1.0, 3.0, (50, 8, 8, 3)))
    x = L.Conv2D(4, 3)(adapted(fixed(inputs)))
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(L.ReLU()(x)))
    assert kp.export(model, "model.onnx").difference < 1e-5


@writes_onnx
@pytest.mark.parametrize("build", [models.residual, models.capped])
@pytest.mark.parametrize("name", [SLOW_KERAS, "onnx"])
def test_one_operation_a_site(name, build):
    model = converted(build)
    operations = check_runtime(name, build).operations
    counts = {kind.lower(): count for kind, count in operations.items()}
    assert counts["prelu"] == sum(site.layer == "PReLU" for site in kp.find_sites(model))
    assert "neg" not in counts


@pytest.mark.skipif(
    BACKEND != "torch" or older("keras", "3.15"), reason="the format is PyTorch's, since Keras 3.15"
)
def test_programs_of_pytorch_take_any_batch():
    model = converted(models.capped)
    for count in (16, 1):
        record = kp.export(model, "model.pt2", samples=models.samples(model, count), force=True)
        assert record.difference <= 1e-5
        assert record.operations["relu"] > 0


@writes_executorch
class TestExecuTorch:
    def test_xnnpack_takes_over_convolutions_and_activations(self):
        record = kp.export(converted(models.capped), "model.pte")
        assert record.operations["XnnpackBackend"] > 0
        assert not {"convolution", "maximum", "where", "relu"} & set(record.operations)

    @pytest.mark.parametrize("layer", [L.Flatten(), L.Reshape((9, 8)), L.Permute((3, 1, 2))])
    def test_convolutions_before_a_change_of_shape(self, layer):
        inputs = keras.Input((8, 8, 3))
        x = layer(kp.PReLU(0.3, shared_axes=[1, 2])(L.Conv2D(2, 3)(inputs)))
        assert kp.export(keras.Model(inputs, L.Dense(2)(x)), "model.pte").difference <= 1e-5

    def test_inputs_of_any_size_are_refused(self, folder):
        inputs = keras.Input((None, None, 3))
        outputs = L.GlobalAveragePooling2D()(kp.PReLU(shared_axes=[1, 2])(inputs))
        with pytest.raises(kp.errors.ExportError, match=r"fixed sizes.*None, None, 3"):
            kp.export(keras.Model(inputs, outputs), "model.pte")
        assert os.listdir() == []

    def test_dicts_go_by_their_keys(self):
        first, second = keras.Input((3,), name="z"), keras.Input((3,), name="a")
        outputs = {"y": kp.PReLU(0.5)(first - 2 * second), "b": first + second}
        model = keras.Model({"z": first, "a": second}, outputs)
        assert kp.export(model, "model.pte").difference <= 1e-6


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("tflite", {"MINIMUM", "MAXIMUM", "PRELU"}),
        ("onnx", {"PRelu", "Min"}),
        pytest.param("openvino", {"Multiply", "Maximum", "Minimum"}, marks=pytest.mark.slow),
    ],
)
def test_each_runtime_has_its_form_of_a_capped_site(name, form):
    operations = kp.export(converted(models.capped), PATHS[name]).operations
    assert {kind: operations.get(kind) for kind in form} == dict.fromkeys(form, 2)
    assert not OTHER_FORMS - form & set(operations)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("tflite", {"MINIMUM", "LEAKY_RELU"}),
        ("onnx", {"LeakyRelu", "Min"}),
        pytest.param("openvino", {"PRelu", "Clamp"}, marks=pytest.mark.slow),
    ],
)
def test_each_runtime_has_its_form_of_a_capped_site_with_one_slope(name, form):
    model = kp.convert(models.live_in(models.capped()), alpha=0.3, rescale="none")
    operations = kp.export(model, PATHS[name]).operations
    assert {kind: operations.get(kind) for kind in form} == dict.fromkeys(form, 2)
    assert not OTHER_FORMS - form & set(operations)


@pytest.mark.tensorflow
@pytest.mark.parametrize("slopes", [(-0.5, 0.5), (0.5, 1.5)])
@pytest.mark.parametrize("name", ON_TENSORFLOW)
def test_slopes_of_any_size_are_exported(name, slopes):
    """The cap takes effect on negative inputs of negative slopes."""
    inputs = keras.Input((8, 8, 3))
    x = L.ReLU(0.5)(L.Conv2D(4, 3)(inputs))
    model = kp.convert(
        keras.Model(inputs, x), rescale="none", parameterization="identity", include="*"
    )
    model.layers[-1].beta.assign(np.linspace(*slopes, 4).reshape(model.layers[-1].beta.shape))
    samples = 10 * models.samples(model, 16)
    record = kp.export(model, PATHS[name], samples=samples)
    assert record.difference <= 1e-6


@pytest.mark.tensorflow
def test_openvino_has_maxima_before_strided_convolutions_of_one_pixel():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 1, strides=2, activation="relu")(L.Conv2D(4, 1, activation="relu")(inputs))
    x = L.Conv2D(4, 3, strides=2)(x)
    model = kp.convert(models.live_in(keras.Model(inputs, x)), alpha=0.3, rescale="none")
    record = kp.export(model, "model.xml")
    assert (record.operations["PRelu"], record.operations["Maximum"]) == (1, 1)
    assert record.difference <= 1e-5


@pytest.mark.tensorflow
@pytest.mark.parametrize("build", [models.capped, models.siamese, models.two_outputs])
def test_a_frozen_saved_model_has_no_variables_and_the_same_signature(build):
    import tensorflow as tf

    model = converted(build)
    kp.export(model, "model")
    record = kp.export(model, "frozen", frozen=True)
    assert record.difference <= 1e-5
    signatures = []
    for path in ("model", "frozen"):
        function = tf.saved_model.load(path).signatures["serving_default"]
        signatures.append((function.structured_input_signature, function.structured_outputs))
    assert not function.variables
    (inputs, outputs), (frozen_inputs, frozen_outputs) = signatures
    assert inputs == frozen_inputs
    assert outputs.keys() == frozen_outputs.keys()


@pytest.mark.tensorflow
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


@pytest.mark.tensorflow
def test_quantized_files_are_smaller_and_near():
    inputs = keras.Input((12, 12, 3))
    x = L.ReLU()(L.Conv2D(32, 3)(inputs))
    x = L.ReLU()(L.Conv2D(32, 3)(x))
    model = with_slopes(
        kp.convert(keras.Model(inputs, L.Dense(64)(L.GlobalAveragePooling2D()(x))), rescale="none")
    )
    samples = models.samples(model, 64)
    whole = kp.export(model, "whole.tflite", samples=samples)
    for quantize in ("float16", "dynamic", "int8"):
        record = kp.export(model, f"{quantize}.tflite", quantize=quantize, samples=samples)
        assert record.bytes < 0.7 * whole.bytes, quantize
        assert 0 < record.difference <= record.tolerance, quantize
        assert record.operations["PRELU"] == 2, quantize
    finer = kp.export(model, "int16x8.tflite", quantize="int16x8", samples=samples)
    assert finer.bytes < 0.7 * whole.bytes
    assert 0 < finer.difference < record.difference / 2
    # All in integers: no operation stands between a pair of these.
    assert {finer.operations[kind] for kind in ("MUL", "MAXIMUM")} == {2}
    assert finer.operations["DEQUANTIZE"] == 1


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["bidirectional", "convolutional", "sequential"])
def test_recurrent_layers_in_tensorflow_lite_take_one_sample_at_a_time(kind):
    if kind != "convolutional":
        inputs = keras.Input((5, 4))
        x = L.GRU(4)(L.Bidirectional(L.GRU(3, return_sequences=True))(inputs))
    else:
        inputs = keras.Input((3, 6, 6, 2))
        x = L.Flatten()(L.ConvLSTM2D(3, 3)(inputs))
    model = keras.Model(inputs, L.Dense(3)(L.Dense(8, "relu")(x)))
    if kind == "sequential":
        model = keras.Sequential([keras.Input((5, 4)), L.LSTM(4), L.Dense(8, "relu"), L.Dense(3)])
    model = with_slopes(kp.convert(model))
    samples = models.samples(model, 6)
    record = kp.export(model, "model.tflite", samples=samples)
    assert record.samples == 6
    assert record.difference <= record.tolerance
    with pytest.raises(
        kp.errors.ExportError, match="does not quantize the activations of recurrent layers"
    ):
        kp.export(model, "int8.tflite", quantize="int8", samples=samples)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_recurrent_network_with_named_inputs_in_tensorflow_lite():
    """The inputs are found by their names, whatever their order."""
    late, early = keras.Input((4, 2), name="late"), keras.Input((3,), name="early")
    x = L.Concatenate()([L.LSTM(3)(late), L.Dense(5, "relu")(early)])
    model = kp.convert(keras.Model({"early": early, "late": late}, {"y": L.Dense(2)(x)}))
    rng = np.random.default_rng(0)
    samples = {
        "early": rng.normal(size=(5, 3)).astype("float32"),
        "late": rng.normal(size=(5, 4, 2)).astype("float32"),
    }
    record = kp.export(model, "model.tflite", samples=samples)
    assert record.difference <= record.tolerance


@pytest.mark.slow
@pytest.mark.tensorflow
def test_integer_inputs_have_no_ranges_of_16_bits():
    inputs = keras.Input((5,), dtype="int32")
    x = L.Dense(8, "relu")(L.Flatten()(L.Embedding(20, 4)(inputs)))
    model = kp.convert(keras.Model(inputs, L.Dense(3)(x)))
    samples = np.random.default_rng(0).integers(0, 20, (16, 5)).astype("int32")
    with pytest.raises(kp.errors.ExportError, match=r"takes integers\. Use 'int8'"):
        kp.export(model, "int16x8.tflite", quantize="int16x8", samples=samples)
    assert kp.export(model, "int8.tflite", quantize="int8", samples=samples).difference


@pytest.mark.parametrize("name", [*ON_ANY_BACKEND[1:], *SLOW_ON_TENSORFLOW])
def test_slopes_inside_python_code_are_exported_too(name):
    inputs = keras.Input((6, 6, 3))
    model = kp.convert(models.live_in(keras.Model(inputs, custom.Block(4)(inputs))), rescale="none")
    record = kp.export(model, PATHS[name])
    assert record.random
    assert record.difference <= 1e-5
    if name != "torch":  # whose activations are several operations
        assert not {"Relu", "Neg", "RELU", "NEG"} & set(record.operations)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="it holds what was traced")
def test_code_that_asks_for_the_number_of_samples_is_refused():
    inputs = keras.Input((4,))
    h = L.Lambda(lambda x: 2 * x if keras.ops.shape(x)[0] == 1 else x)(L.Dense(3)(inputs))
    model = models.live_in(keras.Model(inputs, L.Dense(2)(h)))
    with pytest.raises(kp.errors.ExportError, match="for one sample alone"):
        kp.export(model, "model.pt2")
    assert os.listdir() == []


@writes_onnx
def test_slopes_inside_python_code_are_pruned_too():
    inputs = keras.Input((6, 6, 3))
    model = kp.convert(models.live_in(keras.Model(inputs, custom.Block(4)(inputs))), rescale="none")
    record = kp.export(model, "model.onnx", prune=1.0)
    assert "LeakyRelu" not in record.operations
    assert record.pruning_error > 1e-4


@pytest.mark.new_process
@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_keras_file_of_layers_of_the_users_own_is_loaded_with_their_modules():
    inputs = keras.Input((6, 6, 3))
    x = custom.Block(4)(L.ReLU()(L.Conv2D(4, 3)(inputs)))
    model = kp.convert(
        models.live_in(keras.Model(inputs, x)), rescale="none", include=L.ReLU, exclude="block*"
    )
    record = kp.export(model, "model.keras")
    assert record.operations["Block"] == 1
    assert record.difference <= 1e-6


def test_a_class_of_the_running_script_is_told(monkeypatch):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, custom.Block(4)(inputs))
    monkeypatch.setattr(custom.Block, "__module__", "__main__")
    with pytest.raises(
        kp.errors.ExportError, match=r"'block.*class Block, which the running script defines"
    ):
        kp.export(model, "model.keras")
    assert os.listdir() == []


@writes_onnx
def test_a_runtime_that_computes_something_else_is_told_and_nothing_is_kept(monkeypatch):
    """With the second output off by a hundredth of its largest."""
    model = converted(models.two_outputs)
    load = FORMATS["onnx"].load

    def load_wrong(self, path, interface):
        run = load(self, path, interface)

        def run_wrong(inputs):
            first, second = run(inputs)
            second = second.copy()
            second[0, 0] += 0.01 * np.abs(second).max()
            return [first, second]

        return run_wrong

    monkeypatch.setattr(FORMATS["onnx"], "load", load_wrong)
    with pytest.raises(kp.errors.ExportError, match=r"computes something else, by 0\.01"):
        kp.export(model, "model.onnx")
    assert os.listdir() == []
    assert kp.export(model, "model.onnx", tolerance=0.02).tolerance == 0.02


@writes_onnx
def test_what_can_not_be_exported_is_one_line(monkeypatch):
    def fail(self, model, path, settings):
        path.write_text("half")
        print("page after page")
        raise RuntimeError("no such\n operation")

    monkeypatch.setattr(FORMATS["onnx"], "write", fail)
    with pytest.raises(
        kp.errors.ExportError, match=r"can't be exported to onnx \(no such operation\)"
    ) as caught:
        kp.export(converted(models.mlp), "model.onnx")
    assert "\n" not in str(caught.value)
    assert os.listdir() == []


@writes_onnx
def test_another_backend_and_fixed_sizes_are_advised_where_they_may_do(monkeypatch):
    """Keras's exporter converts attention on TensorFlow, but not on PyTorch, for example."""

    def fail(self, model, path, settings):
        raise RuntimeError("no such operation")

    model = keras.Sequential([keras.Input((None, 3)), L.Dense(2)])
    monkeypatch.setattr(FORMATS["onnx"], "write", fail)
    monkeypatch.setattr(FORMATS["keras"], "write", fail)
    message = (
        r"another format or backend \(--backend \w+ or \w+\);.*one of fixed sizes \(keras.Input"
    )
    with pytest.raises(kp.errors.ExportError, match=message):
        kp.export(model, "model.onnx")
    with pytest.raises(kp.errors.ExportError, match="Try another format; if the reason") as caught:
        kp.export(model, "model.keras")
    assert "sizes" not in str(caught.value)


@pytest.mark.tensorflow
def test_what_a_format_can_not_hold_is_one_line():
    """TensorFlow Lite adds no volumes of slopes."""
    with pytest.raises(kp.errors.ExportError, match="can't be exported to tflite") as caught:
        kp.export(converted(models.volumes), "model.tflite")
    assert "\n" not in str(caught.value)
    assert os.listdir() == []


@pytest.mark.parametrize(
    "name",
    [
        SLOW_KERAS,
        *ON_ANY_BACKEND[1:2],
        *ON_TENSORFLOW[:1],
        *SLOW_ON_TENSORFLOW[3:],
    ],
)
def test_an_existing_output_is_replaced_on_request_alone(name):
    model = converted(models.mlp)
    kp.export(model, PATHS[name])
    with pytest.raises(kp.errors.FileError, match="exists"):
        kp.export(model, PATHS[name])
    kp.export(converted(models.mlp), PATHS[name], force=True)
    assert sorted(os.listdir()) == files(name)


@writes_onnx
def test_an_output_that_appears_meanwhile_is_not_overwritten(folder, monkeypatch):
    write = FORMATS["onnx"].write

    def write_slowly(self, model, path, settings):
        write(self, model, path, settings)
        (folder / "model.onnx").write_text("someone else's")

    monkeypatch.setattr(FORMATS["onnx"], "write", write_slowly)
    with pytest.raises(kp.errors.FileError, match="appeared"):
        kp.export(converted(models.mlp), "model.onnx")
    assert (folder / "model.onnx").read_text() == "someone else's"
    assert os.listdir() == ["model.onnx"]


@writes_onnx
def test_a_subclassed_model_is_exported_with_samples_and_without():
    x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
    model = custom.Classifier()
    model(x)
    model = kp.convert(model, rescale="none")
    drawn = kp.export(model, "drawn.onnx")
    assert drawn.random
    assert drawn.difference <= 1e-5
    assert kp.export(model, "given.onnx", samples=x).difference <= 1e-5


class TwoArguments(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(2, activation="relu")

    def call(self, x, other):
        return self.dense(x) + other


@writes_onnx
def test_samples_are_asked_for_where_none_can_be_drawn():
    model = TwoArguments()
    model(np.ones((2, 3), "float32"), np.ones((2, 2), "float32"))
    with pytest.raises(kp.errors.ExportError, match=r"none can be drawn.*give `samples`"):
        kp.export(model, "model.onnx")


@writes_onnx
def test_pruning_is_measured_apart():
    model = converted(models.mlp)
    assert kp.export(model, "whole.onnx").pruning_error is None
    record = kp.export(model, "pruned.onnx", prune=1.0)
    assert record.pruning_error > 1e-4
    assert record.difference <= 1e-5
    assert "PRelu" not in record.operations


@writes_onnx
def test_integers_are_given_in_the_type_that_the_model_takes():
    inputs = keras.Input((5,), dtype="int32")
    x = L.GlobalAveragePooling1D()(L.Embedding(10, 4)(inputs))
    model = kp.convert(
        keras.Model(inputs, L.Dense(2)(L.Dense(6, activation="relu")(x))), rescale="none"
    )
    samples = np.arange(10, dtype="int64").reshape(2, 5)
    assert kp.export(model, "model.onnx", samples=samples).difference <= 1e-5
    assert kp.export(model, "random.onnx").random


@writes_onnx
def test_accuracy_is_that_of_labels():
    """Three of the four labels are what the model says."""
    model = converted(models.mlp)
    x = models.samples(model, 4)
    labels = keras.ops.convert_to_numpy(model(x)).argmax(-1)
    labels[0] = (labels[0] + 1) % 3
    record = kp.export(model, "model.onnx", samples=x, labels=labels)
    assert (record.accuracy, record.accuracy_of_model) == (75.0, 75.0)
    assert kp.export(model, "other.onnx", samples=x).accuracy is None
    with pytest.raises(kp.errors.InvalidArgumentError, match="must be class numbers"):
        kp.export(model, "wrong.onnx", samples=x, labels=labels[:3])
    assert sorted(os.listdir()) == ["model.onnx", "other.onnx"]
    record = kp.export(model, "test.onnx", samples=x, test=(x[:3], labels[:3]))
    assert (record.samples, record.accuracy_samples) == (4, 3)
    assert record.accuracy == record.accuracy_of_model == pytest.approx(200 / 3)
    with pytest.raises(kp.errors.InvalidArgumentError, match="give it or `labels`, not both"):
        kp.export(model, "wrong.onnx", samples=x, labels=labels, test=(x, labels))


@pytest.mark.tensorflow  # On PyTorch the channels of ONNX activations are their last axis.
@pytest.mark.parametrize("build", [models.residual, models.capped])
def test_activations_in_the_form_for_cpus_compute_the_same(build):
    model = converted(build)
    record = kp.export(model, "model.onnx", samples=models.samples(model, 16), optimize_for="cpu")
    assert record.difference <= 1e-5
    assert not {"PRelu", "Min", "Clip"} & set(record.operations)
    sites = sum(isinstance(layer, kp.PReLU) for layer in model.layers)
    assert record.operations["Relu"] == sites * (2 if build is models.capped else 1)


@pytest.mark.parametrize("name", [*ON_ANY_BACKEND[1:2], *SLOW_ON_TENSORFLOW])
def test_the_cost_is_that_of_the_file_beside_one_with_relus(monkeypatch, name):
    monkeypatch.setattr(benchmark, "_ROUNDS", 3)
    model, loaded = converted(models.residual), []
    load = FORMATS[name].load

    def spy(self, path, interface, threads=None):
        loaded.append((self.operations(path), threads))
        return load(self, path, interface, threads)

    monkeypatch.setattr(FORMATS[name], "load", spy)
    cost = kp.export(model, PATHS[name], measure=True).cost
    assert cost.low <= cost.ratio <= cost.high
    assert cost.milliseconds > 0 < cost.milliseconds_with_relu
    _, (operations, threads), (operations_with_relus, _) = loaded
    assert threads == cost.threads == (None if name == "saved_model" else 1)
    assert sorted(os.listdir()) == files(name)
    # In a network as small as this, the description of the graph weighs as much as the weights, and
    # the fastest form of a site in OpenVINO has a node more than a PRelu.
    assert 0.99 < cost.size_ratio < (1.3 if name == "openvino" else 1.2)
    if name != "saved_model":
        kind = {"tflite": "PRELU", "openvino": "Maximum"}.get(name, "PRelu")
        assert operations[kind] == 5
        assert kind not in operations_with_relus
        pruned = kp.export(model, "other" + PATHS[name][5:], prune=float("inf"))
        assert pruned.operations == operations_with_relus


ONNX = "keras_prelu.deployment.formats.onnx"
MEMORY = "keras_prelu.deployment.memory.physical_memory"


@pytest.mark.tensorflow
def test_what_tf2onnx_would_be_killed_for_is_refused(monkeypatch):
    model = converted(models.mlp)
    monkeypatch.setattr(MEMORY, lambda: 30 * 4 * model.count_params())
    with pytest.raises(kp.errors.ExportError, match=r"KERAS_BACKEND=torch \(--backend torch\)\.$"):
        kp.export(model, "model.onnx")

    def fail(*_):
        raise ValueError("a kernel\nthat is no constant")

    with monkeypatch.context() as patch:
        patch.setattr(f"{ONNX}.large_weights._LARGE", 160)
        patch.setattr(f"{ONNX}.format.LargeWeights.export", fail)
        with pytest.raises(kp.errors.ExportError, match=r"\(a kernel that is no constant\)"):
            kp.export(model, "model.onnx")
    assert os.listdir() == []
    monkeypatch.setattr(MEMORY, lambda: 0)
    assert kp.export(model, "model.onnx").difference <= 1e-5


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's exporter")
def test_what_the_exporter_of_pytorch_would_be_killed_for_is_refused(monkeypatch):
    model = converted(models.mlp)
    monkeypatch.setattr(MEMORY, lambda: 5 * 4 * model.count_params())
    with pytest.raises(kp.errors.ExportError, match=r"takes about .* OpenVINO \(\.xml\)"):
        kp.export(model, "model.onnx")
    assert os.listdir() == []


@pytest.mark.tensorflow
def test_what_freezing_would_be_killed_for_is_refused(monkeypatch):
    model = converted(models.mlp)
    monkeypatch.setattr(MEMORY, lambda: 20 * 4 * model.count_params())
    with pytest.raises(kp.errors.ExportError, match=r"without frozen=True \(--frozen\)"):
        kp.export(model, "frozen", frozen=True)
    assert os.listdir() == []
    kp.export(model, "with_variables")
    monkeypatch.setattr(MEMORY, lambda: 23 * 4 * model.count_params())
    assert kp.export(model, "frozen", frozen=True).difference <= 1e-5


@writes_onnx
def test_models_larger_than_a_file_can_be_are_refused(monkeypatch):
    monkeypatch.setattr(f"{ONNX}.format._LARGEST_FILE", 100)
    with pytest.raises(kp.errors.ExportError, match=r"An ONNX file holds at most .* \(\.xml\)"):
        kp.export(converted(models.mlp), "model.onnx")
    assert os.listdir() == []


@writes_onnx
@pytest.mark.parametrize("size", [(None, None), (None, 9)])
def test_onnx_files_take_the_sizes_that_a_model_leaves_open(size):
    import onnxruntime

    images, numbers = keras.Input((*size, 3), name="z"), keras.Input((None, 3), name="a")
    h = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(images)
    h = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, activation="relu")(h))
    sequence = L.GlobalMaxPooling1D()(L.Conv1D(4, 3, activation="relu")(numbers))
    model = with_slopes(kp.convert(keras.Model([images, numbers], L.Dense(2)(h - sequence))))
    rng = np.random.default_rng(0)
    x = {"z": rng.normal(size=(2, 9, 9, 3)), "a": rng.normal(size=(2, 7, 3))}
    assert kp.export(model, "model.onnx", samples=x).difference <= 1e-5
    others = {"z": rng.normal(size=(3, 14, 9, 3)), "a": rng.normal(size=(3, 20, 3))}
    others = {name: array.astype("float32") for name, array in others.items()}
    (found,) = onnxruntime.InferenceSession("model.onnx").run(None, others)
    expected = keras.ops.convert_to_numpy(model([others["z"], others["a"]]))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@writes_onnx
@pytest.mark.skipif(BACKEND == "tensorflow", reason="It asks for sizes when the model runs")
def test_code_that_asks_for_sizes_is_refused():
    """A "same" pooling on PyTorch asks whether the size is even."""
    images = keras.Input((None, None, 3))
    h = L.MaxPooling2D(2, padding="same")(L.Conv2D(4, 3, activation="relu")(images))
    model = keras.Model(images, L.Conv2D(2, 1)(h))
    with pytest.raises(kp.errors.ExportError, match=r"of another size, \(33, 33, 3\), it computes"):
        kp.export(model, "model.onnx")
    assert os.listdir() == []


@writes_onnx
def test_float64_is_exported_without_the_operation_that_onnxruntime_lacks():
    layers = [L.Dense(4, activation="relu", dtype="float64"), L.Dense(2, dtype="float64")]
    model = keras.Sequential([keras.Input((3,), dtype="float64"), *layers])
    record = kp.export(with_slopes(kp.convert(model)), "model.onnx")
    assert record.difference <= 1e-5
    assert "PRelu" not in record.operations


@writes_onnx
@pytest.mark.parametrize("dtype", ["int32", "string"])
def test_layers_with_tables_are_named(dtype):
    lookup = {"int32": L.IntegerLookup, "string": L.StringLookup}[dtype]
    words = keras.Input((1,), dtype=dtype, name="words")
    known = lookup(vocabulary=[7, 8] if dtype == "int32" else ["a", "b"], name="table")(words)
    model = keras.Model(words, L.Dense(2)(L.Flatten()(L.Embedding(3, 2)(known))))
    message = r"no operation for layer 'table' \((Integer|String)Lookup\)"
    if dtype == "string" and BACKEND != "tensorflow":
        message = "input 'words' takes text, which Keras reads on TensorFlow alone"
    with pytest.raises(kp.errors.ExportError, match=message):
        kp.export(model, "model.onnx")
    assert os.listdir() == []


@writes_onnx
def test_another_opset_is_advised_where_one_was_given():
    with pytest.raises(kp.errors.ExportError, match=r"another opset \(--opset\) than 99\.$"):
        kp.export(models.mlp(), "model.onnx", opset=99)


@writes_onnx
@pytest.mark.parametrize("outputs", [lambda a, b: {"second": a, "first": b}, lambda a, b: [a, b]])
def test_onnx_files_have_the_names_of_the_outputs(outputs):
    import onnxruntime

    inputs = keras.Input((3,), name="measured")
    h = L.Dense(4, activation="relu")(inputs)
    heads = outputs(L.Dense(2, name="left")(h), L.Dense(1, name="right", activation="tanh")(h))
    model = kp.convert(keras.Model(inputs, heads))
    kp.export(model, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    found = {value.name: value.shape[-1] for value in session.get_outputs()}
    assert found == (
        {"left": 2, "right": 1} if isinstance(heads, list) else {"second": 2, "first": 1}
    )
    assert [value.name for value in session.get_inputs()] == ["measured"]


class TwoOutputs(keras.Model):
    """A subclassed model with a dict that is not in the order of its keys."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(6), L.Dense(2)

    def call(self, inputs):
        h = keras.ops.relu(self.hidden(inputs))
        return {"scores": self.head(h), "features": h}


@writes_onnx
def test_onnx_files_have_the_keys_that_python_code_returns():
    import onnxruntime

    model, x = TwoOutputs(), np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    model(x)
    assert kp.export(model, "model.onnx", samples=x).difference <= 1e-5
    session = onnxruntime.InferenceSession("model.onnx")
    found = {value.name: value.shape[-1] for value in session.get_outputs()}
    assert found == {"scores": 2, "features": 6}


def of_all_kinds():
    """Layers whose weights tf2onnx changes in ways of their own, with normalizations."""
    images, ids = keras.Input((8, 8, 3), name="z"), keras.Input((4,), dtype="int32", name="ids")
    h = L.Conv2D(6, 3, padding="same", use_bias=False)(images)
    h = L.ReLU()(L.BatchNormalization()(h))
    h = h + L.DepthwiseConv2D(3, padding="same", activation="relu")(h)
    h = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, groups=2, strides=2)(h)))
    h = L.SeparableConv2D(5, 2, activation="relu")(h)
    h = L.Conv2DTranspose(4, 3, activation="relu")(h)
    sequence = L.Conv1D(6, 2, dilation_rate=2, activation="relu")(L.Embedding(9, 5)(ids))
    volume = L.Conv3D(3, 2, activation="relu")(L.Reshape((4, 4, 2, 2))(h))
    flat = L.Concatenate()([L.Flatten()(each) for each in (h, sequence, volume)])
    flat = L.ReLU()(L.BatchNormalization()(L.Dense(7)(flat)))
    return keras.Model({"z": images, "ids": ids}, L.EinsumDense("ab,bc->ac", 4)(flat))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), "float32"))
    return model


class Subclassed(keras.Model):
    """A network without a graph."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution, self.normalization = L.Conv2D(4, 3), L.BatchNormalization()
        self.dense = L.Dense(3, activation="relu")

    def call(self, inputs):
        h = keras.ops.relu(self.normalization(self.convolution(inputs)))
        return self.dense(keras.ops.mean(h, axis=(1, 2)))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("optimize_for", [None, "cpu"])
@pytest.mark.parametrize(
    "build",
    [
        of_all_kinds,
        models.mlp,
        models.nested,
        models.residual,
        models.inverted_residuals,
        subclassed,
    ],
)
def test_large_weights_are_converted_apart(build, optimize_for, monkeypatch):
    model = with_slopes(kp.convert(build(), rescale="none"))
    with monkeypatch.context() as patch:
        patch.setattr(f"{ONNX}.large_weights._LARGE", 160)
        patch.setattr(f"{ONNX}.format._export", None)  # There is no way but this one.
        apart = kp.export(model, "apart.onnx", optimize_for=optimize_for)
    assert apart.difference <= 1e-5
    whole = kp.export(model, "whole.onnx", optimize_for=optimize_for)
    # Normalizations after convolutions are part of these, and nothing else is there.
    assert not apart.operations.keys() - whole.operations.keys()
    assert sum(apart.operations.values()) <= sum(whole.operations.values())
    assert constants_in("apart.onnx") <= constants_in("whole.onnx")
    if build is models.inverted_residuals:
        assert "Mul" in whole.operations
        assert "Mul" not in apart.operations


def constants_in(path):
    import onnx

    return sum(np.prod(tensor.dims) for tensor in onnx.load(path).graph.initializer)


def two_inputs(inputs, outputs):
    """A model whose inputs of one shape have names that are not in the order of the alphabet."""
    first, second = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    ids = keras.Input((2,), name="ids", dtype="int32")
    h = L.Dense(4, activation="relu", name="last")(L.Concatenate()([first, 2.0 * second]))
    embedded = L.Flatten()(L.Embedding(5, 2)(ids))
    results = h, L.Dense(4, activation="relu", name="first")(L.Concatenate()([second, embedded]))
    return keras.Model(inputs(first, second, ids), outputs(*results))


keys_are_not_names = pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")


@keys_are_not_names
@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (lambda a, b, c: [a, b, c], lambda x, y: [x, y]),
        (lambda a, b, c: {"q": a, "p": b, "r": c}, lambda x, y: {"output_9": x, "output_10": y}),
        (lambda a, b, c: {"a": a, "b": b, "ids": c}, lambda x, y: {"z": x, "y": y}),
    ],
    ids=["lists", "keys", "swapped keys"],
)
@pytest.mark.parametrize("name", EACH_ONCE)
def test_inputs_and_outputs_go_by_the_names_of_the_model(name, inputs, outputs):
    model = models.live_in(two_inputs(inputs, outputs))
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(8, 3)), rng.normal(size=(8, 3)), rng.integers(0, 5, (8, 2))]
    samples = keras.tree.pack_sequence_as(
        model.input, [arrays[("b", "a", "ids").index(tensor.name)] for tensor in model.inputs]
    )
    record = kp.export(kp.convert(model, rescale="none", include="*"), PATHS[name], samples=samples)
    assert record.difference <= 1e-5


@pytest.mark.tensorflow
@pytest.mark.slow
def test_ranges_for_int8_are_those_of_the_inputs_by_name():
    first, second = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    model = keras.Model([first, second], L.Dense(2)(first) + L.Dense(2)(0.01 * second))
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(64, 3)), 100 * rng.normal(size=(64, 3))]
    record = kp.export(model, "model.tflite", samples=samples, quantize="int8")
    assert record.difference < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", EACH_ONCE)
def test_half_precision_is_kept_or_said_to_be_lost(name, policy):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, activation="relu", dtype=policy),
            L.GlobalAveragePooling2D(dtype=policy),
            L.Dense(3, dtype="float32"),
        ]
    )
    model = converted(lambda: model)
    samples = models.samples(model, 16)
    if FORMATS[name].keeps_half_precision:
        record = kp.export(model, PATHS[name], samples=samples)
    else:
        with pytest.warns(kp.errors.KerasPReLUWarning, match="compute in b?float16. In .* float32"):
            record = kp.export(model, PATHS[name], samples=samples)
    assert record.difference <= record.tolerance == {"mixed_float16": 1e-2}.get(policy, 5e-2)
