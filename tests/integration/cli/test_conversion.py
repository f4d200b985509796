"""`keras-prelu inspect`, `convert`, `calibrate`, `bake`, `equalize` and `simplify`."""

import dataclasses
import json
import os
import re

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.cli import records
from keras_prelu.cli.drawn_samples import random_indices
from keras_prelu.cli.sample_records import SampleRecord
from keras_prelu.diagnostics import evaluation
from keras_prelu.sites.site import Site
from tests.helpers import models
from tests.integration.cli import stored
from tests.integration.cli.commands import invoke, invoke_json

L = keras.layers
pytestmark = pytest.mark.usefixtures("folder")


def slopes_of(path):
    return {layer.path: layer.mean for layer in kp.diagnostics.layer_slopes(kp.load_model(path))}


def test_inspect():
    stored.check("inspect", invoke("inspect relu.keras").output)
    sites = invoke_json("inspect relu.keras")["sites"]
    assert [site["path"] for site in sites] == ["conv", "act"]
    assert list(sites[0]) == [field.name for field in dataclasses.fields(Site)]


def leaky():
    return models.leaky()


def not_convertible():
    inputs = keras.Input((4, 3))
    recurrent = L.SimpleRNN(2, activation="elu", name="rnn")(inputs)
    return keras.Model(inputs, L.ReLU(threshold=1.0, name="high")(recurrent))


def smooth():
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, L.Dense(2, activation="gelu", name="smooth")(inputs))


def without_relu():
    inputs = keras.Input((4,))
    return keras.Model(inputs, L.Dense(2)(inputs))


@pytest.mark.parametrize("build", [leaky, not_convertible, smooth, without_relu])
def test_inspect_other_sites(build):
    build().save("model.keras")
    stored.check(f"inspect_{build.__name__}", invoke("inspect model.keras").output)


def test_convert_writes_beside_the_model_and_nothing_else(folder):
    before = sorted(os.listdir())
    original = (folder / "relu.keras").read_bytes()
    stored.check("convert", invoke("convert relu.keras").output)
    assert (folder / "relu.keras").read_bytes() == original
    written = ["relu.prelu.keras", "relu.prelu.run.yaml"]
    assert sorted(os.listdir()) == sorted([*before, *written])
    assert slopes_of("relu.prelu.keras") == {"conv_prelu": 0.0, "act": 0.0}
    x = kp.data.load("digits").test.x
    before, after = (
        kp.load_model(name).predict(x, verbose=0) for name in ("relu.keras", "relu.prelu.keras")
    )
    assert np.array_equal(before, after)


def test_positive_slopes_without_samples_are_refused_with_advice(folder):
    error = invoke("convert relu.keras --alpha 0.25", expect=2).stderr
    assert error.count("\n") == 1
    assert "--data" in error
    assert not (folder / "relu.prelu.keras").exists()
    invoke("convert relu.keras --parameterization positive")
    assert slopes_of("relu.prelu.keras") == {
        "conv_prelu": pytest.approx(1e-3),
        "act": pytest.approx(1e-3),
    }


def test_a_large_error_is_on_standard_error_and_in_the_record():
    arguments = "convert relu.keras --alpha 9 --rescale none --data samples.npz"
    result = invoke(arguments, "--json")
    record = json.loads(result.stdout)
    assert record["error"] > 0.2
    assert f"Note: {record['note']}\n" in result.stderr
    assert "Error of the model's output on the samples:" in invoke(arguments, "--force").output
    invoke("convert relu.keras --rescale none -o other.keras")
    record = invoke_json("calibrate other.keras --original relu.keras --data samples.npz")
    assert record["note"] == ""


def test_convert_with_samples_calibrates():
    stored.check("convert_data", invoke("convert relu.keras --data samples.npz").output)
    record = invoke_json("convert relu.keras --data digits -o other.keras")
    assert record["output"] == "other.keras"
    assert record["calibration"]["samples"] == 512
    assert record["calibration"]["error_after"] < 0.2 * record["calibration"]["error_before"]
    assert record["slope_search"] is None


def test_metrics_before_and_after_are_printed_and_in_the_records(folder):
    """Of the test samples; those of the models by Keras, and in the record of the calibration."""
    digits = kp.data.load("digits").test
    output = invoke("convert relu.keras --data digits --alpha 0.3").stdout
    record = invoke_json("convert relu.keras --data digits --alpha 0.3 --force")["scores"]
    assert (record["samples"], record["used_to_calibrate"], record["caution"]) == (360, False, "")
    for model, values in (("relu", record["original"]), ("relu.prelu", record["converted"])):
        expected = kp.load_model(f"{model}.keras").evaluate(
            digits.x, digits.y, verbose=0, return_dict=True
        )
        assert values == pytest.approx(expected)
    lines = output.splitlines()
    start = lines.index("Scores on 360 samples of digits, none used to calibrate")
    assert lines[start + 1].split() == ["metric", "relu.keras", "relu.prelu.keras"]
    assert lines[start + 2].split()[0] == "accuracy"
    assert float(lines[start + 2].split()[1]) == pytest.approx(
        record["original"]["accuracy"], abs=1e-4
    )
    stored_record = json.loads((folder / "relu.prelu.calibration.json").read_text())
    assert stored_record["scores"] == record
    assert records.read_calibration(folder / "relu.prelu.keras").samples == 512
    arguments = "calibrate relu.prelu.keras --original relu.keras --data digits"
    assert invoke_json(arguments)["scores"]["original"] == record["original"]


def test_metrics_are_of_samples_that_were_not_used_to_calibrate(folder, monkeypatch):
    with np.load("labelled.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    measured = []
    real = evaluation.evaluate

    def evaluate(model, samples, **options):
        measured.append({each.tobytes() for each in samples.x})
        return real(model, samples, **options)

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    calibrated = {each.tobytes() for each in x[random_indices(x, 150, 0)]}
    arguments = "convert relu.keras --data labelled.npz --force"
    output = invoke(arguments, "--samples 150").output
    assert "Scores on 50 samples of labelled.npz, none used to calibrate" in output
    assert measured[0] == measured[1] == {each.tobytes() for each in x} - calibrated
    # Too few are left: all are measured, and the output says so.
    output = invoke(arguments, "--samples 190").output
    assert "Scores on 200 samples of labelled.npz, some used to calibrate" in output
    # Those that the model was trained on are left out.
    record = SampleRecord.of(kp.data.Samples(x[:120], y[:120]), kp.data.Samples(x[120:], y[120:]))
    (folder / "relu.training.json").write_text(json.dumps(record.as_json()))
    output = invoke(arguments).output
    assert "Scores on 80 samples" in output
    assert "120 of 200 samples were used to train relu.keras and are left out." in output


def test_metrics_need_labels_that_fit_and_a_compiled_model(folder):
    assert invoke_json("convert relu.keras --data samples.npz")["scores"] is None
    with np.load("labelled.npz") as arrays:
        np.savez("wrong.npz", x=arrays["x"], y=arrays["y"] + 5)
    result = invoke("convert relu.keras --data wrong.npz --force")
    assert "Note: Scores were not measured: The label 14 is none of" in result.stderr
    assert "Scores on" not in result.stdout
    model = kp.load_model("relu.keras")
    keras.Sequential.from_config(model.get_config()).save("bare.keras")
    assert invoke_json("convert bare.keras --data labelled.npz")["scores"] is None
    model.compile(loss=None)
    model.save("without_loss.keras")
    scores = invoke_json("convert without_loss.keras --data labelled.npz")["scores"]
    assert list(scores["original"]) == ["accuracy"]


def test_convert_distills():
    record = invoke_json("convert relu.keras --data samples.npz --rescale distilled")
    calibration, distillation = record["calibration"], record["distillation"]
    assert distillation["samples"] == calibration["samples"] == 200
    assert distillation["error_after"] <= calibration["error_after"] * (1 + 1e-4)
    output = invoke("convert relu.keras --data samples.npz --rescale distilled --force").output
    assert "Distillation; errors of each block's output" in output
    assert (
        "--rescale distilled needs --data"
        in invoke("convert relu.keras --rescale distilled", expect=2).stderr
    )


def smooth_classifier(folder):
    """Write the classifier of the other tests with smooth activations."""
    model = kp.load_model(folder / "relu.keras")
    config = model.get_config()
    for layer in config["layers"]:
        if layer["config"]["name"] == "conv":
            layer["config"]["activation"] = "hard_silu"
        if layer["config"]["name"] == "act":
            layer |= {"class_name": "Activation"}
            layer["config"] = {"name": "act", "activation": "silu", "dtype": "float32"}
    smooth = keras.Sequential.from_config(config)
    smooth.set_weights(model.get_weights())
    smooth.save("smooth.keras")


def test_smooth_activations(folder):
    smooth_classifier(folder)
    arguments = "convert smooth.keras --data samples.npz --activations smooth"
    stored.check("convert_smooth", invoke(arguments).output)
    assert len({0.0, *slopes_of("smooth.prelu.keras").values()}) == 3
    record = invoke_json(arguments, "--force --distill 2")
    assert set(record["fitted_slopes"]) == {"conv_prelu", "act"}
    steps = [block["steps"] for block in record["distillation"]["blocks"]]
    longer = invoke_json(arguments, "--force --distill 4")
    assert [block["steps"] for block in longer["distillation"]["blocks"]] == [2 * n for n in steps]
    excluded = invoke_json(arguments, "--force --exclude act")
    assert set(excluded["fitted_slopes"]) == {"conv_prelu"}
    error = invoke("convert smooth.keras -o other.keras", expect=1).stderr
    assert "--activations smooth" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--activations smooth --include act", "exclude each other"),
        ("--distill 4", "--distill needs --data"),
        ("--distill 4 --data samples.npz --rescale none", "--distill needs --data"),
        ("--distill 0 --data samples.npz", "range"),
        ("--activations smooth", "calibration_data, --data"),
    ],
)
def test_options_of_smooth_activations_are_checked(folder, options, message):
    smooth_classifier(folder)
    assert message in " ".join(invoke(f"convert smooth.keras {options}", expect=2).stderr.split())


def test_conversion_to_hardware_without_prelu(folder):
    arguments = "convert prelu.keras --data samples.npz --to leaky_relu"
    stored.check("convert_leaky_relu", invoke(arguments).output)
    layers = keras.models.load_model("prelu.leaky_relu.keras").layers
    assert [type(layer).__name__ for layer in layers].count("LeakyReLU") == 2
    record = invoke_json("convert prelu.keras --data digits --to relu --distill 2")
    assert record["output"] == "prelu.relu.keras"
    assert record["layers"] == []
    assert set(record["fitted_slopes"].values()) == {0.0}
    assert record["error"] == record["distillation"]["error_after"]
    assert (
        "Wrote other.keras"
        in invoke("convert prelu.keras --to relu --rescale none -o other.keras").output
    )
    for options, message in (
        ("--alpha 0.1", "--alpha is for PReLU layers"),
        ("--activations smooth", "--activations is for PReLU layers"),
        ("--finetune --data labelled.npz", "--finetune trains PReLU models"),
        ("", "calibration_data, --data"),
    ):
        error = invoke(f"convert prelu.keras --to relu {options} -o more.keras", expect=2).stderr
        assert message in " ".join(error.split())


def test_epochs_need_a_fine_tuning():
    error = invoke("convert relu.keras --epochs 3", expect=2).stderr
    assert "Add --finetune" in error


def test_options_of_the_conversion():
    invoke(
        "convert relu.keras --alpha 0 --parameterization identity --include act"
        " --shared-axes channel_shared"
    )
    (slopes,) = kp.diagnostics.layer_slopes(kp.load_model("relu.prelu.keras"))
    assert (slopes.path, slopes.count, slopes.maximum) == ("act", 1, 0.0)
    invoke("convert relu.keras --rescale analytic --alpha 0.1 --exclude act --force")
    assert slopes_of("relu.prelu.keras") == {"conv_prelu": pytest.approx(0.1)}
    models.leaky().save("leaky.keras")
    invoke("convert leaky.keras --overwrite-slopes --rescale none")
    assert list(slopes_of("leaky.prelu.keras").values()) == pytest.approx([0.25] * 4)


def test_calibrate_is_the_second_half_of_convert(folder):
    invoke("convert relu.keras --rescale none")
    output = invoke("calibrate relu.prelu.keras --original relu.keras --data samples.npz").output
    stored.check("calibrate", output)
    assert (folder / "relu.prelu.calibrated.keras").exists()
    record = json.loads((folder / "relu.prelu.calibrated.calibration.json").read_text())
    assert record["samples"] == 200
    assert record["error_after"] < 0.2 * record["error_before"]
    invoke("convert relu.keras --data samples.npz -o both.keras")
    assert json.loads((folder / "both.calibration.json").read_text()) == record


def test_a_calibration_record_is_not_overwritten(folder):
    (folder / "new.calibration.json").write_text("precious")
    error = invoke("convert relu.keras --data samples.npz -o new.keras", expect=1).stderr
    assert "new.calibration.json" in error
    assert (folder / "new.calibration.json").read_text() == "precious"
    assert not (folder / "new.keras").exists()


@pytest.mark.slow
def test_slopes_are_searched():
    arguments = "convert relu.keras --data samples.npz --alpha auto"
    record = invoke_json(arguments, "--tolerance 1e-4 --samples 150")
    assert record["calibration"]["samples"] == 150
    assert record["slope_search"]["tolerance"] == 1e-4
    expected = record["slope_search"]["slopes"]
    assert slopes_of("relu.prelu.keras") == {
        path: pytest.approx(slope) for path, slope in expected.items()
    }
    stored.check("convert_auto", invoke(arguments, "--memory-limit 100kB --force").output)


def test_bake():
    assert invoke("bake prelu.keras").output == "Wrote prelu.stock.keras.\n"
    stock = keras.models.load_model("prelu.stock.keras")
    assert {type(layer).__module__.split(".")[0] for layer in stock.layers} == {"keras"}
    few = invoke("bake prelu.keras --force --prune 0.001").output
    assert re.match(
        r"0 of (\d) PReLU layers became ReLU\.\nThe smallest slopes are those of '", few
    )
    all_of_them = invoke("bake prelu.keras --force --prune 1").output
    assert re.match(r"(\d) of \1 PReLU layers became ReLU\.\nWrote", all_of_them)
    record = invoke_json("bake prelu.keras --force")
    assert record.pop("pruned") == 0
    assert record["parameters"] == stock.count_params()


def test_equalize():
    stored.check("equalize", invoke("equalize prelu.keras").output)
    groups = invoke_json("equalize prelu.equalized.keras -o again.keras")["groups"]
    spreads = [
        (group["spread_before"], group["spread_after"])
        for group in groups
        if group["action"] == "equalized"
    ]
    assert spreads
    np.testing.assert_allclose(*zip(*spreads, strict=True), rtol=0.01)


def test_simplify():
    arguments = "simplify prelu.keras --data samples.npz --tolerance 0.5"
    stored.check("simplify", invoke(arguments).output)
    record = invoke_json(arguments, "--force")["simplification"]
    assert 0 < record["error"] <= record["tolerance"] == 0.5
    expected = {layer["path"]: layer["slope"] for layer in record["layers"]}
    assert slopes_of("prelu.simplified.keras") == pytest.approx(expected)
    layers = kp.diagnostics.layer_slopes(kp.load_model("prelu.simplified.keras"))
    assert [layer.count for layer in layers] == [1, 1]


def test_simplify_keeps_what_the_tolerance_asks_for():
    record = invoke_json("simplify prelu.keras --data samples.npz --tolerance 1e-9")
    assert record["simplification"]["error"] == 0.0
    assert all(layer["slope"] is None for layer in record["simplification"]["layers"])
    assert "exists" in invoke("simplify prelu.keras --data samples.npz", expect=1).output
