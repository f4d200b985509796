"""Monitors log to the active runs of trackers, and each training of a fine-tuning becomes a run."""

import csv
import importlib
import os
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import keras_prelu as kp
from tests.helpers import models
from tests.helpers.processes import QUICK_TO_START, output_of_python


class Run:
    """A run of W&B that records what is logged."""

    def __init__(self):
        self.rows, self.axes = [], {}

    def log(self, values):
        self.rows.append(values)

    def define_metric(self, name, step_metric=None, hidden=False):
        self.axes[name] = step_metric


class Mlflow:
    """The functions of MLflow that log, as far as the package calls them."""

    def __init__(self):
        self.calls = []

    def active_run(self):
        return self

    def log_metrics(self, metrics, *, step, synchronous):
        assert not synchronous
        assert len(metrics) <= 1000  # as MLflow demands
        self.calls.append((step, metrics))


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for W&B with an active run."""
    module = SimpleNamespace(run=Run(), Histogram=np.asarray)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    return module.run


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    """MLflow, which stores its runs in the folder of the test."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # The wheel without a database has it.
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture
def converted():
    model = models.live_in(models.mlp())
    return kp.convert(model, rescale="none", parameterization="identity")


def fit(model, *callbacks, epochs=3):
    x = models.samples(model, 60)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(x, np.tanh(x[:, :3]), epochs=epochs, callbacks=list(callbacks), verbose=0)


def finetuned(callbacks, **settings):
    model = models.live_in(models.mlp())
    x = models.samples(model, 80)
    parts = [(x[:60], np.tanh(x[:60, :3])), (x[60:], np.tanh(x[60:, :3]))]
    settings = {"recipe": "identity", "epochs": 2, "loss": "mse", **settings}
    return kp.finetune(model, *parts, callbacks=callbacks, **settings)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_active_run_gets_what_the_csv_file_does(tmp_path, converted, wandb):
    x = models.samples(converted, 30)
    fit(converted, kp.callbacks.SlopeMonitor(csv_file=tmp_path / "slopes.csv", samples=x))
    assert [row["monitor/epoch"] for row in wandb.rows] == [0, 1, 2]
    assert not any("loss" in name for row in wandb.rows for name in row)
    for row in rows(tmp_path / "slopes.csv"):
        logged, layer = wandb.rows[int(row["epoch"])], row["layer"]
        for name in ("mean", "minimum", "maximum"):
            assert logged[f"slopes/{layer}/{name}"] == pytest.approx(float(row[name]))
        assert logged[f"dead_units/{layer}"] == int(row["dead"])
        assert logged[f"signal/{layer}"] == pytest.approx(float(row["moment"]))
        assert logged[f"slopes/{layer}"].max() == pytest.approx(float(row["maximum"]))
    assert {"slopes/*", "dead_units/*", "signal/*"} < set(wandb.axes)
    assert wandb.axes["slopes/*"] == "monitor/epoch"


def test_an_active_run_is_output_enough(converted, wandb):
    fit(converted, kp.callbacks.SlopeMonitor(frequency=2), epochs=4)
    assert [row["monitor/epoch"] for row in wandb.rows] == [1, 3]


def test_slopes_that_are_not_finite_stop_no_training(converted, wandb):
    prelu = next(layer for layer in converted.layers if isinstance(layer, kp.PReLU))
    monitor = kp.callbacks.SlopeMonitor()
    monitor.set_model(converted)
    prelu.beta.assign(np.full(prelu.beta.shape, np.nan))
    monitor.on_epoch_end(0)
    assert np.isnan(wandb.rows[0][f"slopes/{prelu.name}/mean"])
    assert f"slopes/{prelu.name}" not in wandb.rows[0]


def test_plasticity_has_one_axis_for_all_trainings(converted, wandb):
    monitor = kp.callbacks.PlasticityMonitor(samples=models.samples(converted, 30), frequency=2)
    for _ in range(2):
        fit(converted, monitor, epochs=3)
    assert [row["monitor/epoch"] for row in wandb.rows] == [1, 4]
    recorded = [each for each in monitor.history if each.effective_rank is not None]
    for record in recorded:
        logged = wandb.rows[record.training - 1]
        assert logged[f"effective_rank/{record.layer}"] == record.effective_rank


def test_mlflow_gets_valid_names_in_parts(monkeypatch):
    from keras_prelu.callbacks.active_runs import active_runs

    module = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    scalars = {f"slopes/a(1)#{index}/mean": float(index) for index in range(2500)}
    (run,) = active_runs()
    run.log(7, scalars, {"slopes/a": np.zeros(3)})
    assert [(step, len(metrics)) for step, metrics in module.calls] == [
        (7, 1000),
        (7, 1000),
        (7, 500),
    ]
    logged = {name: value for _, metrics in module.calls for name, value in metrics.items()}
    assert logged["slopes/a_1__12/mean"] == 12.0
    assert len(logged) == 2500


@pytest.mark.slow
def test_no_tracker_is_imported(tmp_path):
    program = (
        "import sys, keras, numpy as np, keras_prelu as kp\n"
        "model = keras.Sequential([keras.Input((4,)), kp.PReLU()])\n"
        "model.compile('sgd', 'mse')\n"
        "monitor = kp.callbacks.SlopeMonitor(csv_file='slopes.csv')\n"
        "model.fit(np.ones((8, 4)), np.ones((8, 4)), callbacks=[monitor], verbose=0)\n"
        "print([name for name in ('wandb', 'mlflow') if name in sys.modules])"
    )
    printed = output_of_python("-c", program, cwd=tmp_path, KERAS_BACKEND=QUICK_TO_START)
    assert printed.strip() == "[]"


def test_a_function_of_callbacks_gets_the_name_of_the_training(tmp_path):
    """The names are those of the checkpoints."""
    names = []

    def callbacks(training):
        names.append(training)
        return []

    finetuned(callbacks, controls="fixed-slopes", checkpoints=tmp_path / "states")
    assert names == ["model", "control", "fixed-slopes"]
    stored = {path.stem for path in (tmp_path / "states").glob("*.npz")}
    assert set(names) <= stored
    names.clear()
    finetuned(callbacks, runs=2)
    assert names == ["model", "control", "run_1_model", "run_1_control"]


def test_a_function_of_callbacks_needs_no_argument():
    calls = []
    finetuned(lambda training=None: calls.append(training) or [])
    assert calls == [None, None]


def test_each_training_is_a_run_of_mlflow(mlflow):
    runs = kp.callbacks.TrackedRuns("mlflow", group="digits", tags={"owner": "me"})
    result = finetuned(lambda training: [*runs(training), kp.callbacks.SlopeMonitor()])
    assert mlflow.active_run() is None
    found = {run.info.run_name: run for run in mlflow.search_runs(output_format="list")}
    assert set(found) == {"model", "control"}
    for name, trained in (("model", result.prelu), ("control", result.control)):
        run = found[name]
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        assert tags == {"training": name, "group": "digits", "owner": "me"}
        assert run.info.status == "FINISHED"
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_loss")
        logged = {each.step: each.value for each in history}
        assert list(logged.values()) == pytest.approx(trained.history["val_loss"])
    slopes = {
        name: value for name, value in found["model"].data.metrics.items() if "slopes" in name
    }
    assert len(slopes) == 3 * len(result.slopes_after)
    assert not any("slopes" in name for name in found["control"].data.metrics)


def test_mlflows_callback_in_a_list_logs_to_the_active_run(mlflow):
    from mlflow.keras import MlflowCallback

    with mlflow.start_run() as run:
        result = finetuned([MlflowCallback(), kp.callbacks.SlopeMonitor()], control=False)
    mlflow.flush_async_logging()
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [each.value for each in history] == pytest.approx(result.prelu.history["loss"])


def test_an_active_run_of_mlflow_is_the_parent(mlflow):
    with mlflow.start_run() as parent:
        finetuned(kp.callbacks.TrackedRuns("mlflow"), control=False, epochs=1)
        assert mlflow.active_run().info.run_id == parent.info.run_id
    children = mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list"
    )
    assert [run.info.run_name for run in children] == ["model"]


def test_trackers_that_are_of_no_use(monkeypatch, mlflow, tmp_path):
    with pytest.raises(ValueError, match="'wandb', 'mlflow'"):
        kp.callbacks.TrackedRuns("neptune")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mlflow", None)
        with pytest.raises(ValueError, match=r"pip install 'keras-prelu\[mlflow\]'"):
            kp.callbacks.TrackedRuns("mlflow")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "MlflowClient", lambda: importlib.import_module("not_installed"))
        with pytest.raises(
            ValueError, match=r"'not_installed'\): pip install 'keras-prelu\[mlflow\]'"
        ):
            kp.callbacks.TrackedRuns("mlflow")
    (tmp_path / "file").write_text("")
    mlflow.set_tracking_uri((tmp_path / "file").as_uri())
    with pytest.raises(kp.KerasPReLUError, match=r"^mlflow can't start a run: [^\n]*$"):
        kp.callbacks.TrackedRuns("mlflow")


def test_wandb_needs_a_login_and_no_active_run(monkeypatch):
    class UsageError(Exception):
        pass

    def login():
        raise UsageError("No API key configured.\nUse `wandb login` to log in.")

    settings = SimpleNamespace(settings=SimpleNamespace(mode="online"))
    module = SimpleNamespace(run=None, setup=lambda: settings, login=login)
    monkeypatch.setitem(sys.modules, "wandb", module)
    with pytest.raises(kp.KerasPReLUError, match=r"configured\. Use `wandb login` to log in\.$"):
        kp.callbacks.TrackedRuns("wandb")
    settings.settings.mode = "offline"
    kp.callbacks.TrackedRuns("wandb")
    module.run = Run()
    with pytest.raises(kp.KerasPReLUError, match=r"wandb\.finish\(\)"):
        kp.callbacks.TrackedRuns("wandb")


@pytest.mark.slow
def test_each_training_is_a_run_of_wandb(tmp_path, monkeypatch):
    """W&B itself, offline: its callback's losses and the slopes, on one's own axis each."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    import wandb

    runs = kp.callbacks.TrackedRuns("wandb", group="digits", project="tests")
    summaries = {}

    class Summary(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            summaries[wandb.run.name] = (wandb.run.group, dict(wandb.run.summary))

    def callbacks(training):
        losses, end = runs(training)
        return [losses, kp.callbacks.SlopeMonitor(), Summary(), end]

    result = finetuned(callbacks)
    assert wandb.run is None
    assert set(summaries) == {"digits model", "digits control"}
    assert {group for group, _ in summaries.values()} == {"digits"}
    _, model = summaries["digits model"]
    assert model["epoch/val_loss"] == pytest.approx(result.prelu.history["val_loss"][-1])
    for layer in result.slopes_after:
        assert model[f"slopes/{layer.path}/mean"] == pytest.approx(layer.mean, abs=1e-6)
    _, control = summaries["digits control"]
    assert control["epoch/val_loss"] == pytest.approx(result.control.history["val_loss"][-1])
    assert not any("slopes" in name for name in control)
    assert len([name for name in os.listdir(tmp_path / "wandb") if name.startswith("offline")]) == 2
