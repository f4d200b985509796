"""`keras-prelu evaluate`, `compare`, `diagnose` and `report`."""

import os
import re

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.report import content
from tests.integration.cli import stored
from tests.integration.cli.commands import invoke, invoke_json

pytestmark = pytest.mark.usefixtures("folder")


def test_evaluate():
    stored.check("evaluate", invoke("evaluate relu.keras --data digits").output)
    record = invoke_json("evaluate relu.keras --data digits")
    test = kp.data.load("digits").test
    _, accuracy = kp.load_model("relu.keras").evaluate(test.x, test.y, verbose=0)
    np.testing.assert_allclose(record["metrics"]["accuracy"], accuracy, rtol=1e-6)
    assert record["samples"] == 360


def test_a_chosen_metric(folder):
    (folder / "own_metrics.py").write_text(
        "import keras\n"
        "class Top3(keras.metrics.SparseTopKCategoricalAccuracy):\n"
        "    def __init__(self):\n"
        "        super().__init__(3, name='top_3')\n"
    )
    test = kp.data.load("digits").test
    logits = kp.load_model("relu.keras").predict(test.x, verbose=0)
    expected = (np.argsort(logits, axis=1)[:, -3:] == np.reshape(test.y, (-1, 1))).any(axis=1)
    metrics = invoke_json("evaluate relu.keras --data digits --metric own_metrics:Top3")["metrics"]
    assert next(iter(metrics)) == "top_3"
    np.testing.assert_allclose(metrics["top_3"], expected.mean(), rtol=1e-6)
    command = "compare relu.keras relu.keras --data digits --metric"
    compared = invoke_json(f"{command} own_metrics:Top3")["comparison"]
    assert compared["metric"] == "top_3"
    np.testing.assert_allclose([compared["a"], compared["gain"]], [expected.mean(), 0], rtol=1e-6)
    assert "There is no metric 'accuraci'" in invoke(f"{command} accuraci", expect=2).stderr


def test_data_and_preprocessing_by_functions(folder):
    (folder / "cli_data.py").write_text(
        "import numpy as np\n"
        "def half():\n"
        "    with np.load('labelled.npz') as arrays: return arrays['x'] / 2, arrays['y']\n"
        "def double(x): return x * 2\n"
    )
    arguments = "evaluate relu.keras --data cli_data:half --preprocess cli_data:double"
    metrics = invoke_json(arguments)["metrics"]
    assert metrics == invoke_json("evaluate relu.keras --data labelled.npz")["metrics"]


def test_a_table(folder):
    pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(60, 3))
    words = np.where(x.sum(axis=1) > 0, "high", "low")
    lines = [",".join([*map(str, row), word]) for row, word in zip(x, words, strict=True)]
    (folder / "data.csv").write_text("\n".join(["a,b,c,level", *lines]))
    hidden = keras.layers.Dense(8, activation="relu")
    model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.save("table.keras")
    result = invoke("evaluate table.keras --data data.csv --label level")
    assert "Read data.csv: 60 samples of shape (3,), float64 from" in result.stderr
    assert "in 2 classes: high, low." in result.stderr
    record = invoke_json("evaluate table.keras --data data.csv --label level")
    _, accuracy = model.evaluate(x, (words == "low").astype(int), verbose=0)
    np.testing.assert_allclose(record["metrics"]["accuracy"], accuracy, rtol=1e-6)
    mistyped = invoke("evaluate table.keras --data data.csv --label leval", expect=1).stderr
    assert "no column 'leval'. Did you mean 'level'?" in mistyped
    assert (
        "no column 'no'"
        in invoke("evaluate table.keras --data data.csv --label no", expect=1).stderr
    )
    record = invoke_json(
        "finetune table.keras --data data.csv --label level --recipe identity --epochs 1"
    )
    assert record["result"]["prelu"]["metrics_after"].keys() == {"accuracy"}
    failed = invoke("finetune table.keras --data samples.npz -o other.keras --epochs 1", expect=1)
    assert "name them with --label" in failed.stderr
    assert "--label needs --data" in invoke("convert table.keras --label level", expect=2).stderr


def test_compare():
    stored.check("compare", invoke("compare prelu.keras relu.keras --data digits").output)
    record = invoke_json("compare relu.keras relu.keras --data digits")
    assert record["comparison"]["verdict"] == "as good"
    assert record["verdict"].startswith("relu.keras is as good as relu.keras")
    assert record["models"][0]["parameters"] == kp.load_model("relu.keras").count_params()


def test_diagnose():
    stored.check("diagnose", invoke("diagnose relu.keras --data labelled.npz").output)
    record = invoke_json("diagnose prelu.keras --data samples.npz --samples 50")
    assert record["failed"] == []
    assert record["diagnosis"]["samples"] == 50
    assert record["diagnosis"]["noise"] is None


def test_diagnose_beside_a_reference():
    arguments = "diagnose relu.keras --data samples.npz --reference relu.keras"
    norms = invoke_json(arguments)["diagnosis"]["norms"]
    assert all(layer["norm"] == layer["initial"] for layer in norms)


@pytest.mark.slow
def test_diagnose_with_a_trial():
    arguments = "diagnose relu.keras --data labelled.npz --trial --trial-seconds"
    output = invoke(arguments, "0.001").output
    assert "None of them forecasts" not in output  # Which advises a trial.
    assert "two recipes with 8 steps each are the least that can be compared." in output
    assert "There was no time to try" in output
    assert "Recipes tried, losses on" in output
    assert re.search(r"^relu +1x ", output, re.MULTILINE)
    record = invoke_json(arguments, "100000")
    trials = record["trials"]["trials"]
    assert record["trials"]["recipe"] in [trial["recipe"] for trial in trials]
    assert {trial["recipe"] for trial in trials} >= {"relu", "identity"}
    assert all(trial["loss"] > 0 for trial in trials)


def test_diagnose_fails_on_limits():
    arguments = "diagnose relu.keras --data samples.npz --fail-on signal=1 --fail-on dead=1"
    failed = invoke(arguments, expect=3)
    assert re.search(r"^signal is [\d.e+]+, above 1\.\n$", failed.stderr, re.MULTILINE)
    assert invoke_json(arguments, expect=3)["failed"] == ["signal"]


def test_report(folder, run_once, monkeypatch):
    run_once(content, "gather")
    invoke("convert relu.keras --data samples.npz")
    arguments = "report relu.prelu.keras --original relu.keras --control relu.keras"
    output = invoke(arguments, "--data labelled.npz").output
    assert re.search(r"PReLU is|Can't tell PReLU", output)
    size = os.path.getsize("relu.prelu.report.html")
    assert f"Wrote relu.prelu.report.html ({size:,} bytes)." in output
    assert "keras-prelu" in (folder / "relu.prelu.report.html").read_text()
    assert "exists" in invoke(arguments, "--data labelled.npz", expect=1).output
    monkeypatch.setattr("keras_prelu.report.html.write", lambda *args, **kwargs: None)
    record = invoke_json(arguments, "--data labelled.npz --force")["report"]
    assert [network["name"] for network in record["networks"]] == [
        "PReLU",
        "ReLU original",
        "ReLU control",
    ]
    assert record["calibration"]["samples"] == 200


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = invoke("report prelu.keras --original relu.keras --data labelled.npz", expect=1).stderr
    assert "pip install 'keras-prelu[report]'" in error


def test_uncompiled_models_are_measured_too():
    keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)]).save("bare.keras")
    assert set(invoke_json("evaluate bare.keras --data digits")["metrics"]) == {"accuracy"}


@pytest.mark.usefixtures("folder")
def test_images_of_a_folder():
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        os.makedirs(f"images/{name}")
        for number in range(3):
            keras.utils.save_img(
                f"images/{name}/{number}.png", rng.integers(0, 256, (8, 8, 1)), scale=False
            )
    raw = invoke("evaluate relu.keras --data dir:images")
    assert "Read dir:images: 6 samples of shape (8, 8, 1), float32 from" in raw.stderr
    assert "in 2 classes: cat, dog." in raw.stderr
    assert "no first layer of model 'small' scales them" in raw.stderr
    scaled = invoke("evaluate relu.keras --data dir:images --scale 1/255")
    assert "Note" not in scaled.stderr
    assert raw.stdout != scaled.stdout


@keras.saving.register_keras_serializable("tests.cli")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flat, self.hidden = keras.layers.Flatten(), keras.layers.Dense(16, activation="relu")
        self.logits = keras.layers.Dense(10)

    def call(self, x):
        return self.logits(self.hidden(self.flat(x)))


def own_loss(labels, outputs):
    return keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)


@pytest.mark.usefixtures("folder")
def test_commands_on_a_subclassed_model():
    model = Subclassed(name="small")
    model(np.zeros((1, 8, 8, 1)))
    model.compile("sgd", own_loss)
    model.save("sub.keras")
    inspected = invoke("inspect sub.keras")
    assert "hidden" in inspected.output
    assert "compile settings in 'sub.keras' can't be read ('own_loss'" in inspected.stderr
    invoke("convert sub.keras --data digits")
    invoke("compare sub.prelu.keras sub.keras --data digits")
    invoke("diagnose sub.keras --data digits")
    loss = f"--loss {__name__}:own_loss"
    invoke("evaluate sub.keras --data digits", loss)
    invoke("finetune sub.keras --data labelled.npz --epochs 1", loss)
    invoke("report sub.prelu.keras --original sub.keras --data labelled.npz", loss)


def test_labels_by_the_names_of_outputs(folder):
    x = keras.Input((3,))
    kind, size = (keras.layers.Dense(1, name=name)(x) for name in ("kind", "size"))
    model = keras.Model(x, [kind, size])
    model.compile("sgd", loss={"kind": "mse", "size": "mse"})
    model.save("two.keras")
    labels = {"kind": np.zeros(4), "size": np.ones(4)}
    np.savez("named.npz", x=np.ones((4, 3)), **labels)
    np.savez("others.npz", x=np.ones((4, 3)), sort=labels["kind"], mass=labels["size"])
    evaluate = "evaluate two.keras --data"
    expected = invoke_json(evaluate, "named.npz --label kind --label size")["metrics"]
    assert invoke_json(evaluate, "named.npz")["metrics"] == expected
    error = " ".join(invoke(evaluate, "others.npz", expect=1).stderr.split())
    assert "'others.npz' has no labels. It has: 'x', 'sort', 'mass'." in error
    assert "name them with --label" in error
