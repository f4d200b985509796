"""The command line on real files: what it prints, writes, and refuses."""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from keras_prelu.cli.main import main
from keras_prelu.cli.tuning import RECIPES
from keras_prelu.sites.site import Site
from tests.helpers import models
from tests.integration.cli import stored

pytestmark = pytest.mark.tensorflow
L = keras.layers


def invoke(*arguments, expect=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output
    return result


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def relu(folder):
    """A small classifier of the digits, trained a little."""
    data = kp.data.load("digits")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(8, 3, activation="relu", name="conv"),
            L.Flatten(name="flat"),
            L.Dense(16, name="hidden"),
            L.ReLU(name="act"),
            L.Dense(10, name="logits"),
        ],
        name="small",
    )
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(data.train.x, data.train.y, epochs=2, verbose=0)
    model.save("relu.keras")
    np.savez("samples.npz", x=data.train.x[:200])
    np.savez("labelled.npz", x=data.train.x[:200], y=data.train.y[:200])
    return model


def test_help():
    stored.check("help", invoke("--help").output)
    for command in (
        "demo",
        "inspect",
        "convert",
        "calibrate",
        "finetune",
        "compare",
        "diagnose",
        "evaluate",
        "equalize",
        "report",
        "bake",
        "export",
    ):
        assert "Example" in invoke(command, "--help").output


@pytest.mark.usefixtures("relu")
def test_inspect():
    stored.check("inspect", invoke("inspect", "relu.keras").output)
    sites = json.loads(invoke("inspect", "relu.keras", "--json").output)["sites"]
    assert [site["path"] for site in sites] == ["conv", "act"]
    assert list(sites[0]) == [field.name for field in dataclasses.fields(Site)]


def test_inspect_shows_what_cannot_be_converted(folder):
    models.leaky().save("leaky.keras")
    inputs = keras.Input((4, 3))
    keras.Model(
        inputs,
        L.ReLU(threshold=1.0, name="high")(L.SimpleRNN(2, activation="relu", name="rnn")(inputs)),
    ).save("rest.keras")
    inputs = keras.Input((4, 3))
    keras.Model(inputs, L.Dense(2, activation="gelu", name="smooth")(inputs)).save("smooth.keras")
    stored.check("inspect_leaky", invoke("inspect", "leaky.keras").output)
    stored.check("inspect_rest", invoke("inspect", "rest.keras").output)
    stored.check("inspect_smooth", invoke("inspect", "smooth.keras").output)


@pytest.mark.usefixtures("relu")
def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m keras_prelu.cli.main inspect relu.keras --json | true"
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=300, check=False
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_convert_writes_beside_and_touches_nothing_else(relu, folder):
    before = (folder / "relu.keras").read_bytes()
    stored.check("convert", invoke("convert", "relu.keras").output)
    assert (folder / "relu.keras").read_bytes() == before
    assert sorted(os.listdir(folder)) == [
        "labelled.npz",
        "relu.keras",
        "relu.prelu.keras",
        "samples.npz",
    ]
    converted = kp.load_model("relu.prelu.keras")
    assert [slopes.path for slopes in kp.diagnostics.layer_slopes(converted)] == [
        "conv_prelu",
        "act",
    ]


def test_convert_with_samples_calibrates(relu):
    stored.check("convert_data", invoke("convert", "relu.keras", "--data", "samples.npz").output)
    record = json.loads(
        invoke("convert", "relu.keras", "--data", "digits", "--json", "-o", "other.keras").output
    )
    assert record["output"] == "other.keras"
    assert record["calibration"]["samples"] == 512
    assert record["calibration"]["error_after"] < 0.1 * record["calibration"]["error_before"]
    x, y = (
        np.asarray(part) for part in (kp.data.load("digits").test.x, kp.data.load("digits").test.y)
    )
    accuracies = [
        np.mean(model.predict(x, verbose=0).argmax(1) == y)
        for model in (relu, kp.load_model("other.keras"))
    ]
    assert accuracies[1] > accuracies[0] - 0.02


@pytest.mark.usefixtures("relu")
def test_calibrate(folder):
    invoke("convert", "relu.keras", "--rescale", "none")
    stored.check(
        "calibrate",
        invoke(
            "calibrate", "relu.prelu.keras", "--original", "relu.keras", "--data", "samples.npz"
        ).output,
    )
    assert (folder / "relu.prelu.calibrated.keras").exists()
    record = json.loads((folder / "relu.prelu.calibrated.calibration.json").read_text())
    assert record["samples"] == 200
    assert record["error_after"] < 0.1 * record["error_before"]
    invoke("convert", "relu.keras", "--data", "samples.npz", "-o", "both.keras")
    again = json.loads((folder / "both.calibration.json").read_text())
    assert again == record  # the same samples, one command or two
    (folder / "third.calibration.json").write_text("precious")
    assert (
        "third.calibration.json"
        in invoke(
            "convert", "relu.keras", "--data", "samples.npz", "-o", "third.keras", expect=1
        ).stderr
    )
    assert (folder / "third.calibration.json").read_text() == "precious"
    assert not (folder / "third.keras").exists()


@pytest.mark.usefixtures("relu")
def test_convert_options():
    invoke(
        "convert",
        "relu.keras",
        "--alpha",
        0,
        "--parameterization",
        "identity",
        "--include",
        "act",
        "--shared-axes",
        "channel_shared",
    )
    (slopes,) = kp.diagnostics.layer_slopes(kp.load_model("relu.prelu.keras"))
    assert (slopes.path, slopes.count, slopes.maximum) == ("act", 1, 0.0)
    invoke("convert", "relu.keras", "--rescale", "analytic", "--alpha", 0.1, "--force")
    assert kp.diagnostics.layer_slopes(kp.load_model("relu.prelu.keras"))[0].mean == pytest.approx(
        0.1
    )


def test_evaluate(relu):
    stored.check("evaluate", invoke("evaluate", "relu.keras", "--data", "digits").output)
    metrics = json.loads(invoke("evaluate", "relu.keras", "--data", "digits", "--json").output)
    data = kp.data.load("digits")
    np.testing.assert_allclose(
        metrics["metrics"]["accuracy"],
        relu.evaluate(data.test.x, data.test.y, verbose=0)[1],
        rtol=1e-6,
    )
    assert metrics["samples"] == 360
    bare = keras.Sequential([keras.Input((64,)), L.Dense(10)])
    bare.save("bare.keras")
    assert set(
        json.loads(invoke("evaluate", "bare.keras", "--data", "digits", "--json").output)["metrics"]
    ) == {"accuracy"}


@pytest.mark.usefixtures("relu")
def test_finetune_from_relu_and_from_prelu(folder):
    output = invoke("finetune", "relu.keras", "--data", "digits", "--epochs", 1).output
    stored.check(
        "finetune",
        re.sub(r"^(PReLU is|Can't tell).*$", "(the verdict)", output, flags=re.MULTILINE),
    )
    assert (folder / "relu.finetuned.keras").exists()
    invoke("convert", "relu.keras", "--data", "digits")
    arguments = ["finetune", "relu.prelu.keras", "--data", "labelled.npz", "--epochs", 1, "--json"]
    record = json.loads(invoke(*arguments, "--original", "relu.keras").output)
    assert record["result"]["comparison"]["samples"] == 40
    assert record["verdict"].startswith(("PReLU is", "Can't tell"))
    assert "model" not in record["result"]["prelu"]
    record = json.loads(invoke(*arguments, "--no-control", "--force").output)
    assert record["result"]["control"] is None
    assert "--original" in invoke(*arguments, "-o", "new.keras", expect=2).output


@pytest.mark.usefixtures("relu")
def test_finetune_by_recipes(folder):
    arguments = [
        "finetune",
        "relu.keras",
        "--data",
        "digits",
        "--epochs",
        1,
        "--batch-size",
        128,
        "--json",
    ]
    record = json.loads(invoke(*arguments, "--recipe", "auto", "--budget", "2x").output)
    assert record["result"]["recipe"] in RECIPES
    assert {trial["round"] for trial in record["result"]["trials"]} == {1, 2}
    record = json.loads(
        invoke(*arguments, "--recipe", "relu-revived", "-o", "revived.keras").output
    )
    assert record["result"]["slopes_after"] == []
    assert kp.diagnostics.layer_slopes(kp.load_model("revived.keras")) == ()
    assert (
        "--alpha is not used"
        in invoke(*arguments, "--recipe", "exp", "--alpha", "0.1", "--force", expect=2).output
    )
    output = invoke(
        "finetune",
        "relu.keras",
        "--data",
        "digits",
        "--epochs",
        1,
        "--recipe",
        "auto",
        "--budget",
        "2",
        "--force",
    ).output
    assert "Recipes tried" in output
    arguments_ = [
        "--epochs",
        1,
        "--recipe",
        "exp",
        "--also",
        "fixed-slopes",
        "--also",
        "from-scratch",
        "--force",
    ]
    output = invoke("finetune", "relu.keras", "--data", "digits", *arguments_).output
    assert re.search(r"PReLU control, fixed-slopes +0\.\d+ +0\.\d+", output)
    assert "from fresh weights" in output
    invoke("convert", "relu.keras", "--rescale", "none", "-o", "prelu.keras")
    assert (
        "--recipe starts from the ReLU"
        in invoke("finetune", "prelu.keras", *arguments[2:], "--recipe", "exp", expect=2).output
    )
    assert (
        "--alpha is not used"
        in invoke(
            "finetune", "prelu.keras", *arguments[2:], "--no-control", "--alpha", "0.1", expect=2
        ).output
    )


@pytest.mark.usefixtures("relu")
def test_finetune_writes_what_tensorboard_shows(folder):
    arguments = [
        "--recipe",
        "exp",
        "--epochs",
        2,
        "--no-control",
        "--slope-frozen-epochs",
        1,
        "--log-dir",
        "logs",
    ]
    invoke("finetune", "relu.keras", "--data", "labelled.npz", *arguments)
    with open(folder / "logs" / "slopes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["epoch"] for row in rows} == {"0", "1"}
    assert {row["mean"] for row in rows if row["epoch"] == "0"} == {
        rows[0]["mean"]
    }  # frozen at 0.25
    assert all(int(row["units"]) > 0 for row in rows)
    assert list((folder / "logs").glob("events.out.tfevents.*"))


@pytest.mark.usefixtures("relu", "folder")
def test_a_missing_tensorboardx_is_told_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = invoke(
        "finetune", "relu.keras", "--data", "labelled.npz", "--log-dir", "logs", expect=2
    ).stderr
    assert "pip install 'keras-prelu[tensorboard]'" in error


@pytest.mark.usefixtures("relu")
def test_finetune_keeps_checkpoints(folder):
    arguments = [
        "finetune",
        "relu.keras",
        "--data",
        "labelled.npz",
        "--epochs",
        1,
        "--recipe",
        "exp",
        "--checkpoints",
        "run",
        "--json",
    ]
    first = json.loads(invoke(*arguments).output)
    assert {"control.npz", "model.npz"} <= set(os.listdir(folder / "run"))
    assert json.loads(invoke(*arguments, "--force").output) == first
    assert "another fine-tuning" in invoke(*arguments, "--force", "--seed", 1, expect=1).stderr


def test_from_file_to_verdict_in_one_command(relu, folder):
    output = invoke(
        "convert", "relu.keras", "--data", "labelled.npz", "--finetune", "--epochs", 1
    ).output
    assert "Calibration on 160 samples" in output  # not on those that judge
    assert "equally fine-tuned ReLU model" in output
    assert {"relu.prelu.keras", "relu.prelu.calibration.json", "relu.prelu.finetuned.keras"} <= set(
        os.listdir(folder)
    )
    record = json.loads(
        invoke(
            "convert",
            "relu.keras",
            "--data",
            "labelled.npz",
            "--finetune",
            "--epochs",
            1,
            "--force",
            "--json",
        ).output
    )
    assert record["finetuned"] == "relu.prelu.finetuned.keras"
    assert record["result"]["comparison"]["samples"] == 40
    assert (
        "exists"
        in invoke("convert", "relu.keras", "--data", "labelled.npz", "--finetune", expect=1).stderr
    )


@pytest.mark.usefixtures("relu")
def test_slopes_are_found(folder):
    record = json.loads(
        invoke(
            "convert",
            "relu.keras",
            "--data",
            "digits",
            "--alpha",
            "auto",
            "--tolerance",
            "1e-4",
            "--json",
        ).output
    )
    search = record["slope_search"]
    assert search["within"]
    assert record["calibration"]["error_after"] <= 1e-4
    found = {
        layer.path: layer.mean
        for layer in kp.diagnostics.layer_slopes(kp.load_model("relu.prelu.keras"))
    }
    assert found == {path: pytest.approx(slope) for path, slope in search["slopes"].items()}
    output = invoke(
        "convert",
        "relu.keras",
        "--data",
        "digits",
        "--alpha",
        "auto",
        "--memory-limit",
        "100kB",
        "--force",
    ).output
    assert "Slopes that calibration can make up for" in output


def test_compare(relu):
    invoke("convert", "relu.keras", "--rescale", "none", "-o", "prelu.keras")
    stored.check(
        "compare", invoke("compare", "prelu.keras", "relu.keras", "--data", "digits").output
    )
    record = json.loads(
        invoke("compare", "relu.keras", "relu.keras", "--data", "digits", "--json").output
    )
    assert record["comparison"]["verdict"] == "as good"
    assert record["verdict"].startswith("relu.keras is as good as relu.keras")
    assert record["models"][0]["parameters"] == relu.count_params()


@pytest.mark.usefixtures("relu")
def test_data_of_the_users_own(folder):
    (folder / "mydata.py").write_text(
        "import numpy as np\nfrom sklearn.datasets import load_digits\ndef half():\n    d ="
        " load_digits()\n    return d.images[:300, ..., None] / 32, d.target[:300]\ndef"
        " double(x):\n    return x * 2\n"
    )
    record = json.loads(
        invoke(
            "evaluate",
            "relu.keras",
            "--data",
            "mydata:half",
            "--preprocess",
            "mydata:double",
            "--json",
        ).output
    )
    digits = kp.data.load("digits")
    assert record["samples"] == 300
    assert record["metrics"]["accuracy"] > 0.5
    assert digits.train.x.max() == 1.0


def test_demo(folder):
    output = invoke("demo", "--runs", 1, "--epochs", 2).output
    assert sorted(os.listdir(folder / "demo")) == [
        "digits.finetuned.keras",
        "digits.keras",
        "digits.prelu.keras",
    ]
    stored.check("demo", output.split("Verdict")[0])
    record = json.loads(
        CliRunner().invoke(main, ["demo", "--runs", "1", "--epochs", "1", "--json"]).stdout
    )
    assert [item["rescale"] for item in record["demo"]["conversions"]] == [
        "none",
        "analytic",
        "calibrated",
    ]


class TestBadInput:
    """One clear line, the right status, no traceback, and nothing written."""

    @pytest.fixture(autouse=True)
    def _files(self, relu, folder):
        self.folder = folder
        (folder / "broken.keras").write_bytes((folder / "relu.keras").read_bytes()[:-500])
        (folder / "text.keras").write_text("hello")
        inputs = keras.Input((3,))
        keras.Model(inputs, L.Dense(2)(inputs)).save("plain.keras")
        np.savez("nan.npz", x=np.full((20, 8, 8, 1), np.nan))
        np.savez("shape.npz", x=np.zeros((20, 9, 9, 1)))
        np.savez("few.npz", x=np.zeros((3, 8, 8, 1)))
        self.before = sorted(os.listdir(folder))

    @pytest.mark.parametrize(
        ("arguments", "status", "message"),
        [
            ("inspect missing.keras", 1, "No such file: 'missing.keras'"),
            ("inspect text.keras", 1, "'text.keras' is not a Keras file"),
            ("inspect broken.keras", 1, "'broken.keras'"),
            ("inspect samples.npz", 1, "'samples.npz' is not a Keras file"),
            ("convert plain.keras", 1, "has no ReLU"),
            (
                "convert relu.keras -o nosuch/out.keras",
                1,
                "folder of the output 'nosuch/out.keras' does not exist",
            ),
            ("convert relu.keras -o relu.keras", 1, "exists"),
            ("convert relu.keras -o out.h5", 1, "must end in .keras"),
            ("convert relu.keras --alpha 0", 2, "'square' and 'identity'"),
            ("convert relu.keras --alpha -1 --parameterization square", 2, "'identity'"),
            ("convert relu.keras --alpha nan", 2, "finite"),
            ("convert relu.keras --alpha a", 2, "'a' is not a valid float"),
            ("convert relu.keras --include nosuch", 2, "'nosuch' matches none"),
            ("convert relu.keras --rescale calibrated", 2, "needs --data"),
            ("convert relu.keras --rescale analytic --data digits", 2, "does not use --data"),
            ("convert relu.keras --data nan.npz", 1, "NaN"),
            ("convert relu.keras --data shape.npz", 1, "(20, 9, 9, 1)"),
            ("convert relu.keras --data few.npz", 1, "at least 5"),
            ("convert relu.keras --data missing.npz", 1, "No such file: 'missing.npz'"),
            ("convert relu.keras --data imagenet", 1, "Unknown data source 'imagenet'"),
            ("convert relu.keras --import nosuchmodule", 1, "--import nosuchmodule"),
            ("convert", 2, "Missing argument 'MODEL'"),
            ("convert relu.keras --nosuch", 2, "No such option"),
            ("nosuch", 2, "No such command"),
            ("evaluate relu.keras --data samples.npz", 1, "labels"),
            ("evaluate relu.keras", 2, "--data"),
            (
                "calibrate relu.keras --original plain.keras --data digits",
                1,
                "shape (512, 8, 8, 1)",
            ),
            ("calibrate relu.keras --data digits", 2, "--original"),
            ("finetune relu.keras --data samples.npz", 1, "labels"),
            ("finetune relu.keras --data digits --epochs 0", 2, "--epochs"),
            ("finetune relu.keras --data digits --recipe auto --budget 1", 2, "budget"),
            ("convert relu.keras --finetune", 2, "--finetune needs --data"),
            ("convert relu.keras --data samples.npz --finetune", 1, "labels"),
            ("convert relu.keras --alpha auto", 2, "--alpha auto needs --data"),
            ("convert relu.keras --alpha big", 2, "--alpha"),
            ("convert relu.keras --tolerance 0.1", 2, "--tolerance is for --alpha auto"),
            ("convert relu.keras --data samples.npz --memory-limit much", 2, "no size such as"),
            ("convert relu.keras --preprocess a:b", 2, "--preprocess needs --data"),
            ("convert relu.keras --data nosuch:function", 1, "module 'nosuch' can't be imported"),
            ("convert relu.keras --data os:nosuch", 1, "has no function 'nosuch'"),
            ("convert relu.keras --data os:getpid", 1, "must return arrays"),
            ("convert relu.keras --data os:strerror", 1, "'os:strerror' failed"),
            ("convert relu.keras --data dir:missing", 1, "No such folder: 'missing'"),
            ("convert relu.keras --data dir:.", 1, "has no images"),
            ("compare relu.keras missing.keras --data digits", 1, "missing.keras"),
            ("compare relu.keras relu.keras --data samples.npz", 1, "labels"),
            ("finetune relu.keras --data digits --loss nosuch", 1, "nosuch"),
        ],
    )
    def test_one_line(self, arguments, status, message):
        result = CliRunner().invoke(main, arguments.split())
        assert result.exit_code == status, result.output
        assert message in " ".join(result.stderr.split()), result.stderr
        assert (
            len([line for line in result.stderr.splitlines() if not line.startswith("Note:")]) == 1
        ), result.stderr
        assert result.stdout == ""
        assert "Traceback" not in result.output
        assert sorted(os.listdir(self.folder)) == self.before

    def test_debug_shows_the_traceback(self):
        result = CliRunner().invoke(main, ["inspect", "missing.keras", "--debug"])
        assert isinstance(result.exception, kp.KerasPReLUError)


@pytest.mark.usefixtures("relu")
def test_custom_layers_come_from_a_module(folder):
    (folder / "mylayers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='mine')\n"
        "class Double(keras.layers.Layer):\n"
        "    def call(self, x): return 2 * x\n"
    )
    code = (
        "import keras, mylayers\nm = keras.Sequential([keras.Input((3,)), mylayers.Double(),"
        " keras.layers.ReLU()])\nm.save('custom.keras')"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, timeout=300, env=environment
    )
    program = [sys.executable, "-m", "keras_prelu.cli.main", "inspect", "custom.keras"]
    refused = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert (
        "custom class 'mine>Double'" in refused.stderr or "custom class 'Double'" in refused.stderr
    )
    assert len(refused.stderr.strip().splitlines()) == 1
    accepted = subprocess.run(
        [*program, "--import", "mylayers"], capture_output=True, text=True, timeout=300, check=False
    )
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stderr == ""
    assert "re_lu" in accepted.stdout


@pytest.mark.usefixtures("relu")
def test_backends():
    program = [sys.executable, "-m", "keras_prelu.cli.main"]
    for backend in ("jax", "torch"):
        pytest.importorskip(backend, reason="JAX and PyTorch are optional")
        arguments = [
            "convert",
            "relu.keras",
            "--backend",
            backend,
            "--data",
            "samples.npz",
            "-o",
            f"{backend}.keras",
        ]
        result = subprocess.run(
            [*program, *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr
    x = kp.data.load("digits").test.x
    outputs = [
        kp.load_model(f"{backend}.keras").predict(x, verbose=0) for backend in ("jax", "torch")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)
    result = invoke("inspect", "relu.keras", "--backend", "jax", expect=1)
    assert "another backend" in result.output


@pytest.fixture
def converted(relu):
    """With a slope of its own for each channel."""
    model = kp.convert(relu, rescale="none")
    for name in ("conv_prelu", "act"):
        layer = model.get_layer(name)
        layer.beta.assign(
            np.log(np.linspace(0.1, 0.4, layer.beta.shape[-1])).reshape(layer.beta.shape)
        )
    model.save("prelu.keras")
    return model


@pytest.mark.usefixtures("converted")
def test_bake():
    assert "Wrote prelu.stock.keras" in invoke("bake", "prelu.keras").output
    stock = keras.models.load_model("prelu.stock.keras")
    assert {type(layer).__module__.split(".")[0] for layer in stock.layers} == {"keras"}
    assert "exists" in invoke("bake", "prelu.keras", expect=1).output
    assert (
        json.loads(invoke("bake", "prelu.keras", "--force", "--json").output)["parameters"]
        == stock.count_params()
    )


@pytest.mark.usefixtures("converted")
def test_equalize():
    stored.check("equalize", invoke("equalize", "prelu.keras").output)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    before, after = (
        kp.load_model(name).predict(x, verbose=0)
        for name in ("prelu.keras", "prelu.equalized.keras")
    )
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    assert "exists" in invoke("equalize", "prelu.keras", expect=1).output
    groups = json.loads(
        invoke("equalize", "prelu.equalized.keras", "-o", "again.keras", "--json").output
    )["groups"]
    assert all(
        group["spread_after"] == pytest.approx(group["spread_before"], rel=0.01)
        for group in groups
        if group["action"] == "equalized"
    )


@pytest.mark.usefixtures("converted")
def test_export():
    stored.check(
        "export",
        invoke("export", "prelu.keras", "-o", "model.tflite", "--data", "samples.npz").output,
    )
    record = json.loads(invoke("export", "prelu.keras", "-o", "model.onnx", "--json").output)
    assert record["operations"]["PRelu"] == 2
    assert record["random"]
    quantized = json.loads(
        invoke(
            "export",
            "prelu.keras",
            "-o",
            "int8.tflite",
            "--quantize",
            "int8",
            "--data",
            "samples.npz",
            "--json",
        ).output
    )
    assert quantized["bytes"] < os.path.getsize("model.tflite")
    labelled = invoke(
        "export", "prelu.keras", "-o", "other.tflite", "--quantize", "int8", "--data", "digits"
    ).output
    assert re.search(r"Accuracy on them: \d+\.\d\d %; of the model \d+", labelled)
    pruned = invoke("export", "prelu.keras", "-o", "pruned.tflite", "--prune", "1").output
    assert "pruning itself changed" in pruned
    measured = invoke(
        "export", "prelu.keras", "-o", "cpu.onnx", "--optimize-for", "cpu", "--measure"
    ).output
    assert re.search(
        r"One sample on one thread: .* ms, with ReLUs .* ms: .* times as long \(quartiles", measured
    )


@pytest.mark.usefixtures("converted")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-o", "model.bin"], 2, "suffix of no known format"),
        (["-o", "missing/model.onnx"], 1, "does not exist"),
        (["-o", "prelu.keras"], 1, "exists"),
        (["-o", "model.tflite", "--quantize", "int8"], 2, "--data"),
        (["-o", "model.onnx", "--quantize", "int8"], 2, "`quantize` is for the format 'tflite'"),
        (["-o", "model.tflite", "--opset", "15"], 2, "`opset` is for the format 'onnx'"),
        (["-o", "model.onnx", "--format", "tflite"], 1, "must end in .tflite"),
        (
            ["-o", "model.tflite", "--optimize-for", "cpu"],
            2,
            "`optimize_for` is for the format 'onnx'",
        ),
        (
            ["-o", "model.keras", "--measure"],
            2,
            "`measure` is for formats with a runtime of their own",
        ),
        (["-o", "model.pt2"], 1, "--backend torch"),
        (
            ["-o", "model.tflite", "--tolerance", "0", "--data", "samples.npz"],
            1,
            "computes something else",
        ),
    ],
)
def test_export_that_can_not_be_is_one_line_and_leaves_nothing(arguments, code, said):
    before = {name: os.path.getsize(name) for name in os.listdir()}
    output = invoke("export", "prelu.keras", *arguments, expect=code).output
    assert said in output
    assert len(output.strip().splitlines()) == 1
    assert {name: os.path.getsize(name) for name in os.listdir()} == before


@pytest.mark.usefixtures("converted")
def test_diagnose():
    stored.check("diagnose", invoke("diagnose", "relu.keras", "--data", "labelled.npz").output)
    record = json.loads(invoke("diagnose", "prelu.keras", "--data", "samples.npz", "--json").output)
    assert record["failed"] == []
    assert set(record["diagnosis"]["measures"]) == {
        "dead",
        "nearly-dead",
        "one-sided",
        "signal",
        "gradient",
    }
    assert record["diagnosis"]["noise"] is None
    failed = invoke(
        "diagnose",
        "relu.keras",
        "--data",
        "labelled.npz",
        "--fail-on",
        "signal=1",
        "--fail-on",
        "dead=1",
        "--json",
        expect=3,
    )
    assert json.loads(failed.stdout)["failed"] == ["signal"]
    assert failed.stderr.startswith("signal is ")
    assert (
        "measures are dead"
        in invoke(
            "diagnose", "relu.keras", "--data", "digits", "--fail-on", "cost=1", expect=2
        ).output
    )
    assert (
        "has no such measure"
        in invoke(
            "diagnose", "relu.keras", "--data", "samples.npz", "--fail-on", "noise=1", expect=2
        ).output
    )


@pytest.mark.usefixtures("converted")
def test_report(folder):
    output = invoke(
        "report", "prelu.keras", "--original", "relu.keras", "--data", "labelled.npz"
    ).output
    assert re.search(r"PReLU is|Can't tell PReLU", output)
    assert "Wrote prelu.report.html" in output
    assert "keras-prelu" in (folder / "prelu.report.html").read_text()
    arguments = ["report", "prelu.keras", "--original", "relu.keras", "--data", "samples.npz"]
    assert "exists" in invoke(*arguments, expect=1).output
    assert "must end in .html" in invoke(*arguments, "-o", "page.txt", expect=1).output
    record = json.loads(invoke(*arguments, "--control", "relu.keras", "--force", "--json").output)
    assert [network["name"] for network in record["report"]["networks"]] == [
        "PReLU",
        "ReLU original",
        "ReLU control",
    ]
    assert "no PReLU layers" in invoke("report", "relu.keras", *arguments[2:], expect=2).output


@pytest.mark.usefixtures("converted")
def test_a_missing_matplotlib_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = invoke(
        "report", "prelu.keras", "--original", "relu.keras", "--data", "labelled.npz", expect=1
    ).stderr
    assert "pip install 'keras-prelu[report]'" in error
