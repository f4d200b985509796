"""`keras-prelu finetune`, `convert --finetune` and `demo`."""

import base64
import csv
import dataclasses
import json
import os
import re
import shutil
import types

import numpy as np
import pytest

import keras_prelu as kp
import keras_prelu.demo
from keras_prelu.cli import finetuning, runners
from keras_prelu.cli.options.training import RECIPES
from keras_prelu.data.digests import sample_digests
from keras_prelu.training import finetune as finetune_module
from tests.integration.cli import stored
from tests.integration.cli.commands import invoke, invoke_json

pytestmark = pytest.mark.usefixtures("folder")
FINETUNE = "finetune relu.keras --data labelled.npz --epochs 1"


def test_finetune_a_relu_model():
    stored.check("finetune", invoke(FINETUNE, "--alpha 0.25").output)
    assert os.path.exists("relu.finetuned.keras")


def test_a_relu_model_is_fine_tuned_by_auto_unless_options_say_how_to_convert_it():
    found = invoke(FINETUNE, "--no-control --json")
    record = json.loads(found.stdout)
    assert {trial["round"] for trial in record["result"]["trials"]} == {1}  # Two recipes alone.
    assert "). Give more --epochs or a larger --budget." in found.stderr
    assert record["result"]["recipe"] in RECIPES
    record = invoke_json(FINETUNE, "--no-control --alpha 0.25 --force")
    assert record["result"]["trials"] == []
    assert record["result"]["recipe"] == ""


def test_sites_on_request_are_fine_tuned_in_one_call():
    model = kp.load_model("relu.keras")
    (first, *_) = kp.find_sites(model)
    record = invoke_json(FINETUNE, f"--recipe identity --include {first.path}")
    assert [layer["path"] for layer in record["result"]["slopes_after"]] == [first.target]
    record = invoke_json(FINETUNE, f"--include {first.path} --epochs 2 --force")
    assert record["result"]["trials"]
    error = invoke(FINETUNE, "--include nothing --force", expect=2).stderr
    assert "--include names no site" in error


def test_a_fine_tuning_that_made_the_network_worse_names_the_better_file(folder):
    arguments = "finetune relu.keras --data digits --epochs 1 --learning-rate 3 --recipe identity"
    result = invoke(arguments, expect=4)
    assert "worse than the model that came in" in result.output
    assert "Keep relu.keras: it is better than relu.finetuned.keras." in result.output
    before = (folder / "relu.keras").read_bytes()
    record = invoke_json(arguments, "-o relu.keras --force", expect=4)
    assert (folder / "relu.keras").read_bytes() == before
    assert record["best"] == "incoming"
    # The first run wrote relu.finetuned.keras.
    assert record["output"] == record["files"]["output"] == "relu.finetuned-2.keras"
    assert record["files"]["best"] == "relu.keras"


def write_poor(path):
    """Write relu.keras with logits that are all 0."""
    model = kp.load_model("relu.keras")
    model.layers[-1].set_weights([0.0 * weights for weights in model.layers[-1].get_weights()])
    kp.save_model(model, path, force=True)


def test_a_second_fine_tuning_is_compared_with_the_first(folder):
    """The file that came in is better than the ReLU model that it was made from."""
    write_poor("poor.keras")
    arguments = "finetune prelu.keras --original poor.keras --data digits --epochs 1"
    record = invoke_json(arguments, "--learning-rate 3", expect=4)
    assert (record["best"], record["result"]["incoming"]) == ("incoming", "model")
    assert record["files"]["best"] == "prelu.keras"
    result = invoke(arguments, "--learning-rate 3 --force -o prelu.keras", expect=4)
    assert "worse than the model that came in" in result.output
    assert "Keep prelu.keras: it is better than prelu.finetuned-2.keras." in result.output
    assert "Wrote prelu.finetuned-2.keras" in result.output


def test_a_conversion_without_a_file_is_written_if_it_is_best(folder, monkeypatch):
    """The conversion is better than the ReLU model, and than both after their fine-tuning."""
    write_poor("relu.keras")
    good = types.SimpleNamespace(model=kp.load_model("prelu.keras"))
    monkeypatch.setattr(runners, "convert_model", lambda *_: good)
    arguments = "finetune relu.keras --data digits --epochs 1 --learning-rate 3 --alpha 0.25"
    (folder / "relu.finetuned.converted.keras").touch()
    error = invoke(arguments, expect=1).stderr
    assert "'relu.finetuned.converted.keras' exists" in error
    record = invoke_json(arguments, "--force", expect=4)
    assert record["files"]["best"] == "relu.finetuned.converted.keras"
    for written, model in zip(
        kp.load_model("relu.finetuned.converted.keras").weights, good.model.weights, strict=True
    ):
        np.testing.assert_array_equal(written, model)


def test_convert_and_finetune_names_the_better_file_too(monkeypatch):
    tune = finetuning.finetune_model

    def at_a_high_rate(*models_and_samples):
        *others, options, session = models_and_samples
        return tune(*others, dataclasses.replace(options, learning_rate=3.0), session)

    monkeypatch.setattr(finetuning, "finetune_model", at_a_high_rate)
    record = invoke_json("convert relu.keras --data digits --finetune --epochs 1", expect=4)
    files = {"original": "relu.keras", "model": "relu.prelu.keras"}
    assert record["best"] == "incoming"
    assert record["files"]["best"] == files[record["result"]["incoming"]]


@pytest.mark.slow
def test_what_was_trained_on_is_not_scored(folder):
    invoke(FINETUNE, "--recipe identity --learning-rate 0.00001")
    files = {"relu.finetuned.keras", "relu.finetuned.control.keras", "relu.finetuned.training.json"}
    assert files <= set(os.listdir(folder))
    tuned, control = "relu.finetuned.keras", "relu.finetuned.control.keras"
    said = "160 of 200 samples were used to train relu.finetuned.keras"
    for arguments in (
        f"compare {tuned} relu.keras",
        f"compare relu.keras {control}",
        f"report {tuned} --original relu.keras --control {control} -o report.html",
        f"evaluate {tuned}",
    ):
        output = invoke(arguments, "--data labelled.npz").output
        assert said.removesuffix("relu.finetuned.keras") in output
        assert "are left out" in output
    assert said in (folder / "report.html").read_text()
    # The control that lies beside a fine-tuned model is compared too, without being named.
    report = f"report {tuned} --original relu.keras --data labelled.npz"
    said_of_both = [
        invoke(report, options).stdout.splitlines()[:-1]
        for options in ("-o beside.html", f"--control {control} -o named.html")
    ]
    assert said_of_both[0] == said_of_both[1]
    assert "ReLU control" in " ".join(said_of_both[0])
    # One that an earlier training left there is not.
    path = folder / "relu.finetuned.training.json"
    record = path.read_text()
    path.write_text(json.dumps({**json.loads(record), "control": None}))
    assert "ReLU control" not in invoke(report, "-o without.html").stdout
    path.write_text(record)
    record = invoke_json(f"compare {tuned} relu.keras --data labelled.npz")
    assert record["comparison"]["samples"] == 40
    assert "160 of 200 samples" in record["verdict"]
    # Other samples are not concerned.
    output = invoke(f"compare {tuned} relu.keras --data digits").output
    assert "were used to train" not in output
    assert "n = 360" in output


@pytest.mark.parametrize("command", ["bake", "equalize", "simplify --data samples.npz"])
def test_what_is_made_from_a_model_has_its_record(command, folder):
    name, _, options = command.partition(" ")
    invoke(FINETUNE, "--recipe identity --no-control")
    record = json.loads((folder / "relu.finetuned.training.json").read_text())
    (folder / "made.training.json").write_text("mine")
    arguments = f"{name} relu.finetuned.keras {options} -o made.keras"
    assert "made.training.json' exists" in invoke(arguments, expect=1).stderr
    assert not os.path.exists("made.keras")
    invoke(arguments, "--force")
    made = json.loads((folder / "made.training.json").read_text())
    assert [made[key] for key in ("trained", "held_out")] == [
        record[key] for key in ("trained", "held_out")
    ]
    output = invoke("compare made.keras relu.keras --data labelled.npz").output
    assert "160 of 200 samples were used to train made.keras" in output


def test_a_second_fine_tuning_holds_out_what_the_first_one_did(folder):
    invoke(FINETUNE, "--recipe identity --no-control")
    again = "finetune relu.finetuned.keras --original relu.keras --epochs 1 --seed 1 -o again.keras"
    record = invoke_json(again, "--data labelled.npz")
    assert record["result"]["comparison"]["samples"] == 40
    first, second = (
        json.loads((folder / f"{name}.training.json").read_text())
        for name in ("relu.finetuned", "again")
    )
    assert np.array_equal(*(sorted(decoded(each["held_out"])) for each in (first, second)))
    assert np.array_equal(*(sorted(decoded(each["trained"])) for each in (first, second)))
    with np.load("labelled.npz") as arrays:
        np.savez("few.npz", x=arrays["x"][:4], y=arrays["y"][:4])
        x, y = arrays["x"], arrays["y"]
    used = np.isin(digests_of(x, y), decoded(first["trained"]))
    np.savez("used.npz", x=x[used], y=y[used])
    error = invoke(again.replace("again.keras", "third.keras"), "--data used.npz", expect=1).stderr
    assert "160 of the 160 samples were used to train relu.finetuned.keras" in error


def decoded(text):
    return np.frombuffer(base64.b64decode(text), dtype="<u8")


def digests_of(x, y):
    return sample_digests(kp.data.Samples(x, y))


def test_a_worse_model_does_not_overwrite_the_one_that_came_in(folder, monkeypatch):
    """Also where the control is the best of all."""
    tune = finetuning.finetune_model

    def with_a_better_control(*models_and_samples, **options):
        result = tune(*models_and_samples, **options)
        monkeypatch.setattr(type(result), "is_worse_than_incoming", True)
        monkeypatch.setattr(type(result), "best", "control")
        return result

    monkeypatch.setattr(finetuning, "finetune_model", with_a_better_control)
    before = (folder / "relu.keras").read_bytes()
    (folder / "relu.finetuned.keras").write_text("mine")
    arguments = "--recipe identity --force -o relu.keras"
    assert "Wrote relu.finetuned-2.keras" in invoke(FINETUNE, arguments, expect=4).output
    assert (folder / "relu.keras").read_bytes() == before
    assert (folder / "relu.finetuned.keras").read_text() == "mine"


def test_samples_that_were_all_trained_on_are_scored_with_a_caution(folder):
    invoke(FINETUNE, "--recipe identity --no-control")
    with np.load("labelled.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    held_out = kp.data.dataset.split(kp.data.Samples(np.arange(200)), 0.2, 0)[1].x
    kept = np.setdiff1d(np.arange(200), held_out)
    np.savez("trained.npz", x=x[kept].astype("float64"), y=y[kept])
    output = invoke("compare relu.finetuned.keras relu.keras --data trained.npz").output
    assert "All 160 samples were used to train relu.finetuned.keras: the scores do not" in output
    assert not os.path.exists("relu.finetuned.control.keras")
    (folder / "relu.finetuned.training.json").write_text("damaged")
    result = invoke("compare relu.finetuned.keras relu.keras --data trained.npz")
    assert "Note: The record 'relu.finetuned.training.json' can't be read" in result.stderr


def test_a_renamed_model_keeps_its_record(folder):
    invoke(FINETUNE, "--recipe identity")
    os.rename("relu.finetuned.keras", "mine.keras")
    os.rename("relu.finetuned.control.keras", "other.keras")
    for name in ("mine.keras", "other.keras"):
        output = invoke(f"compare {name} relu.keras --data labelled.npz").output
        assert f"160 of 200 samples were used to train {name}" in output
    os.remove("relu.finetuned.training.json")
    assert "used to train" not in invoke("compare mine.keras relu.keras --data labelled.npz").output


def test_a_record_of_another_file_is_said(folder):
    """It is taken at its word all the same: the model may have been trained on."""
    invoke(FINETUNE, "--recipe identity --no-control")
    compare = "compare relu.finetuned.keras relu.keras --data labelled.npz"
    assert "changed or replaced" not in invoke(compare).stderr
    shutil.copy("prelu.keras", "relu.finetuned.keras")
    result = invoke(compare)
    assert "Note: 'relu.finetuned.keras' was changed or replaced after its record" in result.stderr
    assert "160 of 200 samples were used to train" in result.output


def test_the_control_is_not_overwritten_without_force(folder):
    (folder / "relu.finetuned.control.keras").write_text("mine")
    assert "control.keras' exists" in invoke(FINETUNE, expect=1).stderr
    (folder / "relu.finetuned.control.keras").unlink()
    (folder / "relu.finetuned.training.json").write_text("mine")
    assert "training.json' exists" in invoke(FINETUNE, expect=1).stderr
    assert (folder / "relu.finetuned.training.json").read_text() == "mine"


def test_finetune_a_converted_model():
    arguments = "finetune prelu.keras --data labelled.npz --epochs 1"
    record = invoke_json(arguments, "--original relu.keras")
    assert record["result"]["comparison"]["samples"] == 40
    assert record["verdict"].startswith(("PReLU is", "Can't tell"))
    assert "model" not in record["result"]["prelu"]


def test_finetune_with_a_recipe_and_further_controls():
    record = invoke_json(FINETUNE, "--recipe relu-revived --no-control -o new.keras")
    assert record["result"]["slopes_after"] == []
    assert kp.diagnostics.layer_slopes(kp.load_model("new.keras")) == ()
    output = invoke(FINETUNE, "--recipe exp --also fixed-slopes --also from-scratch").output
    assert re.search(r"PReLU, recipe exp +\d\.\d+ +\d\.\d+", output)
    assert re.search(r"PReLU control, fixed-slopes +\d\.\d+ +\d\.\d+", output)
    assert re.search(r"PReLU control, from-scratch +\d\.\d+ +\d\.\d+", output)


@pytest.mark.slow
def test_several_runs_say_what_they_cost_and_are_in_the_record():
    result = invoke(FINETUNE, "--recipe identity --runs 2 --seed 3")
    assert "2 runs are 4 to 6 trainings of 1 epoch." in result.stderr
    assert "Runs, scores on samples that no training saw" in result.stdout
    assert "3 (chosen)" in result.stdout or "4 (chosen)" in result.stdout
    assert "how runs scatter is not known from fewer than 3" in " ".join(result.stdout.split())
    record = invoke_json(FINETUNE, "--recipe identity --runs 2 --seed 3 --force")
    over = record["result"]["over_runs"]
    assert [run["seed"] for run in over["runs"]] == [3, 4]
    gains = [run["score"] - run["control_score"] for run in over["runs"]]
    np.testing.assert_allclose(over["comparison"]["gains"], gains, atol=1e-9)
    assert over["comparison"]["low"] is None


def test_an_original_is_for_a_converted_model():
    result = invoke(FINETUNE, "--original relu.keras", expect=2)
    assert "relu.keras has no PReLU layers" in result.output
    assert not os.path.exists("relu.finetuned.keras")


@pytest.mark.slow
def test_finetune_searches_a_recipe():
    record = invoke_json(FINETUNE, "--recipe auto --budget 2x --no-control")
    assert record["result"]["recipe"] in RECIPES
    assert {trial["round"] for trial in record["result"]["trials"]} == {1}  # Two recipes alone.
    output = invoke(FINETUNE, "--recipe auto --budget 2 --no-control --force").output
    assert "Recipes tried" in output


def test_finetune_logs_for_tensorboard(folder):
    pytest.importorskip("tensorboardX")
    arguments = "--recipe exp --epochs 2 --no-control --slope-frozen-epochs 1 --log-dir logs"
    record = invoke_json(FINETUNE, arguments)
    assert record["result"]["control"] is None
    with open(folder / "logs" / "slopes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["epoch"] for row in rows} == {"0", "1"}
    frozen = {row["mean"] for row in rows if row["epoch"] == "0"}
    assert frozen == {rows[0]["mean"]}
    assert all(int(row["units"]) > 0 for row in rows)
    assert list((folder / "logs").glob("events.out.tfevents.*"))


def test_a_missing_tensorboardx_is_an_error_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = invoke(FINETUNE, "--log-dir logs", expect=2).stderr
    assert "pip install 'keras-prelu[tensorboard]'" in error


@pytest.mark.slow
def test_finetune_logs_to_a_tracker(folder, monkeypatch):
    """One run for each network, with its losses, and the same slopes as in --log-dir."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((folder / "mlruns").as_uri())
    record = invoke_json(FINETUNE, "--recipe exp --tracker mlflow --log-dir logs")
    runs = {run.info.run_name: run.data for run in mlflow.search_runs(output_format="list")}
    assert set(runs) == {"model", "control"}
    assert {run.tags["group"] for run in runs.values()} == {"relu.finetuned"}
    for name, trained in (("model", "prelu"), ("control", "control")):
        history = record["result"][trained]["history"]
        assert runs[name].metrics["val_loss"] == pytest.approx(history["val_loss"][-1])
    with open(folder / "logs" / "slopes.csv", newline="") as file:
        for row in csv.DictReader(file):
            logged = runs["model"].metrics[f"slopes/{row['layer']}/mean"]
            assert logged == pytest.approx(float(row["mean"]))


def test_a_tracker_that_is_not_installed_is_an_error_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = invoke(FINETUNE, "--tracker wandb", expect=2).stderr
    assert "pip install 'keras-prelu[wandb]'" in error


def test_finetune_with_checkpoints(folder):
    arguments = "--recipe exp --checkpoints states --force"
    first = invoke_json(FINETUNE, arguments)
    assert {"control.npz", "model.npz"} <= set(os.listdir(folder / "states"))
    assert invoke_json(FINETUNE, arguments) == first


def test_convert_and_finetune_in_one_command(folder, run_once):
    run_once(finetune_module, "finetune")
    arguments = "convert relu.keras --data labelled.npz --finetune --epochs 1"
    stored.check("convert_finetune", invoke(arguments).output)
    expected = {"relu.prelu.keras", "relu.prelu.calibration.json", "relu.prelu.finetuned.keras"}
    assert expected <= set(os.listdir(folder))
    record = invoke_json(arguments, "--force")
    assert record["calibration"]["samples"] == 160  # None of the validation samples.
    assert record["finetuned"] == "relu.prelu.finetuned.keras"
    assert record["result"]["comparison"]["samples"] == 40
    os.remove("relu.prelu.keras")
    os.remove("relu.prelu.calibration.json")
    error = invoke(arguments, expect=1).stderr
    assert "'relu.prelu.finetuned.keras' exists" in error
    assert not os.path.exists("relu.prelu.keras")


def test_the_output_of_convert_and_finetune_is_the_fine_tuned_model(folder):
    arguments = "convert relu.keras --data labelled.npz --finetune --epochs 1 -o tuned.keras"
    record = invoke_json(arguments)
    assert (record["output"], record["finetuned"]) == ("tuned.prelu.keras", "tuned.keras")
    assert {"tuned.keras", "tuned.prelu.keras"} <= set(os.listdir(folder))
    after = [layer["mean"] for layer in record["result"]["slopes_after"]]
    tuned = kp.diagnostics.layer_slopes(kp.load_model("tuned.keras"))
    assert [layer.mean for layer in tuned] == pytest.approx(after)


def test_logs_of_a_recipe_without_slopes_are_said_to_be_missing():
    pytest.importorskip("tensorboardX")
    result = invoke(FINETUNE, "--recipe relu --no-control --log-dir logs -o no_slopes.keras")
    assert "Note: Recipe relu trains no slopes, so nothing was logged in logs." in result.stderr


@pytest.mark.slow
def test_demo(folder, run_once):
    run_once(keras_prelu.demo, "run_demo")
    stored.check("demo", invoke("demo --runs 1 --epochs 1").output)
    models = ["digits.finetuned.keras", "digits.keras", "digits.prelu.keras"]
    assert sorted(os.listdir(folder / "demo")) == sorted([*models, "going_on.svg"])
    record = invoke_json("demo --runs 1 --epochs 1")
    assert len(record["demo"]["going_on"]["curves"]) == 4
    assert record["demo"]["healthy"]["largest_difference"] == 0.0
