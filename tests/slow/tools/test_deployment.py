"""tools.deployment: some networks exported and quantized, and that it reports what was measured."""

import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.slow.tools.reports import check_stored, run
from tools.common.processes import WorkerFailed
from tools.deployment import __main__ as command
from tools.deployment import executed, int8, matrix, profile_metric
from tools.deployment.matrix import FORMS, NETWORKS, export_network
from tools.deployment.per_tensor import scale_badly
from tools.deployment.profile_metric import CHANNEL_WISE, CONTROL, PROFILE, TunedForm
from tools.deployment.report import matrix as matrix_table
from tools.deployment.report import profile as profile_table
from tools.fidelity.tasks import tasks

EARLIER_FORMS = ("keras", "saved_model", "tflite", "onnx", "onnx, for cpu", "openvino")

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # Keras's, about training
def test_a_small_part(tmp_path, monkeypatch):
    onnx, tflite = ({name: FORMS[name]} for name in ("onnx", "tflite"))
    monkeypatch.setattr(matrix, "NETWORKS", ("MobileNet", "MobileNetV2"))
    monkeypatch.setattr(matrix, "FORMS", tflite | onnx)
    asked = []

    def export_in_this_process(network, form):
        asked.append((network, form))
        return export_network(network, form, 32)

    monkeypatch.setattr(matrix, "export_in_a_process", export_in_this_process)
    run(command, tmp_path, "--part", "matrix", "--only", "V2")
    monkeypatch.setattr(matrix, "FORMS", onnx | tflite)
    # What is stored is not exported again.
    storage = run(command, tmp_path, "--part", "matrix", "--only", "V2")
    assert asked == [("MobileNetV2", "tflite"), ("MobileNetV2", "onnx")]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| MobileNetV2 | 35 (35) | tflite | 35 MINIMUM, 35 MAXIMUM, 35 PRELU |" in text
    assert all(result.difference <= 1e-5 for result in storage.results("matrix"))


def test_a_process_that_is_killed_is_a_row(monkeypatch):
    def killed(*arguments):
        raise WorkerFailed("worker", -signal.SIGKILL, "")

    monkeypatch.setattr(matrix, "json_lines", killed)
    result = matrix.export_in_a_process("VGG16", "onnx")
    whole = replace(
        result, form="keras", sites=15, operations={"PReLU": 15}, difference=0.0, failure=""
    )
    text = matrix_table([whole, result])
    assert "| VGG16 | 15 | onnx | – | – | – | – | – |" in text
    assert "- VGG16, onnx: the exporter ran out of memory" in text


@pytest.mark.filterwarnings("ignore")
def test_a_trial_of_the_profile(tmp_path, monkeypatch):
    storage = run(command, tmp_path, "--part", "profile", "--trial")
    results = storage.results("profile")
    found = [(result.start, result.slopes, result.seed) for result in results]
    assert found == [
        *[("", CONTROL, seed) for seed in (0, 1)],
        *[(f.start, f.slopes, seed) for f in profile_metric.FORMS for seed in (0, 1)],
    ]
    for result in results:
        is_exact = (result.start, result.slopes) in [("", CONTROL), ("default", CHANNEL_WISE)]
        assert (result.error == 0) == is_exact
        assert (result.caps, result.removed) == ((2, 2) if result.slopes == PROFILE else (0, 0))
    assert (tmp_path / "RESULTS.md").read_text() == storage.markdown()
    # What is stored is not measured again.
    monkeypatch.setattr(profile_metric.kp, "finetune", None)
    assert run(command, tmp_path, "--part", "profile", "--trial").results("profile") == results


def tuned_form(slopes, seed, after):
    return TunedForm(
        network="n",
        start="default" if slopes != CONTROL else "",
        slopes=slopes,
        seed=seed,
        metric="accuracy, %",
        incoming=90.0,
        before=90.0,
        error=0.0,
        after=after,
        slope=0.0,
        caps=0,
        removed=0,
        tested=100,
    )


@pytest.mark.parametrize(
    ("differences", "row"),
    [
        ((0.0, -0.1, -0.2), "| -0.10 ± 0.06 | -0.35 to +0.15 | open |"),
        ((0.0, -0.1, 0.1), "| +0.00 ± 0.06 | -0.25 to +0.25 | yes |"),
        ((-0.9, -1.0, -1.1), "| -1.00 ± 0.06 | -1.25 to -0.75 | **no** |"),
        ((-0.1,), "| -0.10 | – | open |"),
    ],
)
def test_the_profile_is_paired_by_seed(differences, row):
    channel_wise = [tuned_form(CHANNEL_WISE, seed, 80.0 + seed) for seed in range(4)]
    profiled = [
        tuned_form(PROFILE, seed, 80.0 + seed + difference)
        for seed, difference in enumerate(differences)
    ]
    controls = [tuned_form(CONTROL, 0, 85.0)]
    # Seeds that one form lacks are left out.
    text = profile_table([*controls, *channel_wise, *reversed(profiled)])
    assert f"| n | default | {len(differences)} | 85.00 |" in text
    assert row in text
    assert "Not measured yet: plain, Fashion-MNIST; ResNet, Fashion-MNIST;" in text


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_a_trial_of_int8(tmp_path, monkeypatch):
    storage = run(command, tmp_path, "--part", "int8", "--trial")
    results = {result.form: result for result in storage.results("int8")}
    assert [*results] == [form.name for form in int8.FORMS]
    assert 1.0 == results[int8.RELU].width < results["0.1"].width < results["0.25"].width
    for result in results.values():
        assert 0 < result.error < 0.01
        assert abs(result.int8 - result.floating) <= 5
    assert (tmp_path / "RESULTS.md").read_text() == storage.markdown()
    # What is stored is not measured again.
    monkeypatch.setattr(int8, "_int8_outputs", None)
    assert {
        result.form: result
        for result in run(command, tmp_path, "--part", "int8", "--trial").results("int8")
    } == results


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


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("format", "path", "relus", "prelus"),
    [
        ("onnx", "model.onnx", {"Conv [Relu]": 3}, {"Conv [LeakyRelu]": 3}),
        (
            "openvino",
            "model.xml",
            {"Convolution [Relu]": 3},
            # The last one stands before a strided convolution of one pixel.
            {"Convolution [PRelu]": 2, "Subgraph [Multiply, Maximum]": 1},
        ),
        ("saved_model", "model", {"Relu": 3}, {"LeakyRelu": 3}),
    ],
)
def test_what_runtimes_execute_is_counted(format, path, relus, prelus, tmp_path):
    layers = [keras.layers.Conv2D(16, 3, activation="relu") for _ in range(3)]
    last = keras.layers.Conv2D(4, 1, strides=2)
    relu = keras.Sequential([keras.Input((16, 16, 8)), *layers, last])
    prelu = kp.convert(relu, alpha=0.25, parameterization="identity", rescale="none")
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)).astype("float32")
    options = {"frozen": True} if format == "saved_model" else {}
    for name, model, expected, absent in (
        ("relu", relu, relus, prelus),
        ("prelu", prelu, prelus, relus),
    ):
        file = tmp_path / name / path
        file.parent.mkdir()
        kp.export(model, file, samples=x, **options)
        counts = executed.READERS[format](file, x)
        assert {kind: counts[kind] for kind in expected} == expected
        assert not absent.keys() & counts.keys()


def test_the_stored_table_is_of_the_stored_results():
    storage = check_stored(FOLDER, command.REPORT)
    stored = {(result.network, result.form) for result in storage.results("matrix")}
    assert stored >= {(name, form) for name in NETWORKS for form in EARLIER_FORMS}
    assert stored <= {(name, form) for name in NETWORKS for form in FORMS}
    assert {(result.network, result.form, result.seed) for result in storage.results("int8")} == {
        (network.name, form.name, seed)
        for network in int8.NETWORKS
        for form in int8.FORMS
        for seed in range(int8.EFFORT.seeds)
    }
    assert len(storage.results("per-tensor")) == len(command.PER_TENSOR) * command.SEEDS
    profiled = {network.network.name: network.seeds for network in profile_metric.NETWORKS}
    for result in storage.results("profile"):
        assert result.seed < profiled[result.network]
        assert result.incoming > 70
