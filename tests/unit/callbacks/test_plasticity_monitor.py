"""keras_prelu.callbacks.PlasticityMonitor: what it records is what the network had at the end of the
epoch, computed here from the layers one by one."""

import csv

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.callbacks import time_budget
from tests.helpers import models
from tests.unit.callbacks.test_slope_monitor import summaries
from tests.unit.diagnostics.test_ranks import layer_outputs, reference

L = keras.layers


def network(convert=False):
    """An MLP in whose first layer two units are dead and stay so, and a third is nearly dead."""
    model = models.live_in(models.mlp())
    bias = model.layers[0].get_weights()[1]
    bias[:2] = -100.0
    model.layers[0].set_weights([model.layers[0].get_weights()[0], bias])
    if convert:
        model = kp.convert(model, rescale="none", parameterization="identity")
    return model


class Expected(keras.callbacks.Callback):
    """What the monitor should record, by epoch and layer."""

    def __init__(self, x):
        super().__init__()
        self.x, self.seen = x, []

    def on_epoch_end(self, epoch, logs=None):
        found = {}
        for layer in self.model.layers:
            if isinstance(layer, L.Dense):
                kernel = np.array(keras.ops.convert_to_numpy(layer.kernel), "float64")
                found[layer.name] = {"weight_norm": np.sqrt(np.sum(kernel**2))}
        for name, outputs in layer_outputs(self.model, self.x).items():
            # Where the identity map has slopes near 0, the sign of the output is that of the input.
            effective, stable = reference(outputs)
            found.setdefault(name, {}).update(effective_rank=effective, stable_rank=stable)
            slopes = getattr(self.model.get_layer(name), "alpha", None)
            if slopes is not None:
                found[name]["mean_slope"] = np.mean(keras.ops.convert_to_numpy(slopes))
            else:
                active = (outputs > 0).mean(axis=0)
                found[name] |= {
                    "units": 8,
                    "dead": int((active == 0).sum()),
                    "nearly_dead": int(((active > 0) & (active <= 0.01)).sum()),
                }
        self.seen.append(found)


def fit(model, *callbacks, epochs=2, rate=0.01):
    x = models.samples(model, 60)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.fit(x, np.tanh(x[:, :3]), epochs=epochs, callbacks=list(callbacks), verbose=0)


def check(history, seen):
    for record in history:
        expected = seen[record.epoch][record.layer]
        for name in ("effective_rank", "stable_rank", "mean_slope", "weight_norm"):
            value = getattr(record, name)
            if name in expected:
                assert value == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-6), name
            else:
                assert value is None, name
        for name in ("units", "dead", "nearly_dead"):
            if name in expected:
                assert getattr(record, name) == expected[name]


@pytest.mark.backends
@pytest.mark.parametrize("convert", [False, True])
def test_the_records_are_those_of_the_network_of_the_epoch(convert):
    model = network(convert)
    x = models.samples(model, 200, seed=5)
    expected = Expected(x)
    monitor = kp.callbacks.PlasticityMonitor(samples=x, frequency=1)
    fit(model, expected, monitor)
    names = {layer.name for layer in model.layers}
    assert {record.layer for record in monitor.history} == names
    assert len(monitor.history) == 2 * len(names)
    check(monitor.history, expected.seen)
    assert next(record for record in monitor.history if record.units).dead == 2
    assert expected.seen[0] != expected.seen[1]


def test_units_that_are_active_on_few_samples_are_nearly_dead():
    model = network()
    x = models.samples(model, 256, seed=5)
    kernel, bias = model.layers[0].get_weights()
    bias[3] = -np.sort(x @ kernel[:, 3])[-3]  # positive on two samples
    model.layers[0].set_weights([kernel, bias])
    monitor = kp.callbacks.PlasticityMonitor(samples=x)
    fit(model, monitor, epochs=1, rate=1e-9)
    assert (monitor.history[0].dead, monitor.history[0].nearly_dead) == (2, 1)


def test_the_files_hold_the_records(tmp_path):
    model = network(convert=True)
    monitor = kp.callbacks.PlasticityMonitor(
        tmp_path / "logs", tmp_path / "records.csv", samples=models.samples(model, 50), frequency=2
    )
    fit(model, monitor, epochs=4)
    with open(tmp_path / "records.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(record.epoch) for record in monitor.history]
    assert {row["epoch"] for row in rows} == {"1", "3"}
    found = summaries(tmp_path / "logs" / "training_1")
    for row, record in zip(rows, monitor.history, strict=True):
        assert row["layer"] == record.layer
        for name, tag in [
            ("dead", "dead_units"),
            ("stable_rank", "stable_rank"),
            ("weight_norm", "weight_norm"),
        ]:
            value = getattr(record, name)
            assert (row[name] == "") == (value is None)
            if value is not None:
                assert float(row[name]) == pytest.approx(value)
                assert found[f"{tag}/{record.layer}", record.epoch] == pytest.approx(
                    value, rel=1e-5
                )
    assert ("epoch/loss", 3) in found


def test_trainings_are_counted_over_calls_and_files(tmp_path):
    model = network()
    x = models.samples(model, 30)
    first = kp.callbacks.PlasticityMonitor(csv_file=tmp_path / "records.csv", samples=x)
    fit(model, first, epochs=1)
    fit(model, first, epochs=1)
    second = kp.callbacks.PlasticityMonitor(tmp_path / "logs", tmp_path / "records.csv", samples=x)
    fit(model, second, epochs=1)
    assert sorted({record.training for record in first.history}) == [1, 2]
    assert {record.training for record in second.history} == {3}
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["training_3"]


class Batches(keras.utils.PyDataset):
    """Batches as `fit` takes them."""

    def __init__(self, x):
        super().__init__()
        self.x, self.read = x, 0

    def __len__(self):
        return len(self.x) // 10

    def __getitem__(self, index):
        self.read += 1
        rows = self.x[index * 10 : (index + 1) * 10]
        return rows, np.zeros((10, 3), "float32"), np.ones(10, "float32")


@pytest.mark.parametrize("kind", ["pair", "batches", "list"])
def test_any_samples_of_fit_are_taken(kind):
    model = network()
    x = models.samples(model, 100)
    samples = {"pair": (x, np.zeros((100, 3))), "batches": Batches(x), "list": x.tolist()}[kind]
    monitor = kp.callbacks.PlasticityMonitor(samples=samples, max_samples=20)
    fit(model, monitor, epochs=1, rate=1e-9)
    drawn = (
        x[:20] if kind == "batches" else x[np.sort(np.random.default_rng(0).permutation(100)[:20])]
    )
    effective, _ = reference(layer_outputs(model, drawn)["first"])
    assert monitor.history[0].effective_rank == pytest.approx(effective, rel=1e-4)
    if kind == "batches":
        assert samples.read == 2


def test_finetune_records_the_model_and_then_its_control():
    model = network()
    x = models.samples(model, 80)
    data = [(x[:60], np.tanh(x[:60, :3])), (x[60:], np.tanh(x[60:, :3]))]
    monitor = kp.callbacks.PlasticityMonitor(samples=x)
    kp.finetune(
        kp.convert(model, rescale="none"),
        *data,
        original=model,
        epochs=2,
        loss="mse",
        callbacks=[monitor],
    )
    slopes = {
        training: any(
            record.mean_slope is not None
            for record in monitor.history
            if record.training == training
        )
        for training in (1, 2)
    }
    assert slopes == {1: True, 2: False}


def test_samples_do_not_change_the_training():
    """The random state and the weights are those of a training without the monitor."""
    trained = []
    for watched in (False, True):
        keras.utils.set_random_seed(1)
        model = network()
        model.add(L.Dropout(0.5))
        model.build()
        callbacks = (
            [kp.callbacks.PlasticityMonitor(samples=models.samples(model, 20))] if watched else []
        )
        fit(model, *callbacks)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_got_another_layer_is_measured_as_it_is():
    model = network()
    x = models.samples(model, 50)
    monitor = kp.callbacks.PlasticityMonitor(samples=x, frequency=1)
    fit(model, monitor, epochs=1)
    model.pop()
    model.add(L.Dense(3, "relu", name="new"))
    fit(model, monitor, epochs=1, rate=1e-9)
    (record,) = (each for each in monitor.history if each.layer == "new" and each.training == 2)
    effective, _ = reference(layer_outputs(model, x)["new"])
    assert record.effective_rank == pytest.approx(effective, rel=1e-4)


def test_by_default_recordings_take_a_share_of_the_time(monkeypatch):
    """With a clock on which an epoch takes 10 seconds and a recording 1."""
    now = [0.0]
    monkeypatch.setattr(time_budget.time, "perf_counter", lambda: now[0])
    monitor = kp.callbacks.PlasticityMonitor(samples=np.zeros((4, 6), "float32"))
    recorded = []

    def record(epoch, probe, logs):
        recorded.append(epoch)
        now[0] += 1.0

    monkeypatch.setattr(monitor, "_record", record)
    model = network()
    model.compile("sgd", "mse")
    monitor.set_model(model)
    for _ in range(2):  # Two trainings share the budget.
        monitor.on_train_begin()
        for epoch in range(20):
            monitor.on_epoch_begin(epoch)
            now[0] += 10.0
            monitor.on_epoch_end(epoch)
        monitor.on_train_end()
        now[0] += 1000.0  # No time of training.
    # The first one, the next (whose time is not known before), and so on as 3 % are reached: the
    # n-th of those that count after n seconds over 3 %.
    assert recorded == [0, 1, 7, 10, 14, 17, 0, 4, 7, 10, 14, 17]


def test_bad_arguments(tmp_path):
    x = np.zeros((4, 6), "float32")
    for arguments in ({"frequency": 0}, {"max_samples": 1}):
        with pytest.raises(kp.errors.InvalidArgumentError, match=next(iter(arguments))):
            kp.callbacks.PlasticityMonitor(samples=x, **arguments)
    with pytest.raises(kp.errors.FileError, match="missing"):
        fit(
            network(),
            kp.callbacks.PlasticityMonitor(csv_file=tmp_path / "missing" / "a.csv", samples=x),
        )
    other = tmp_path / "slopes.csv"
    other.write_text("epoch,layer\n0,first\n")
    with pytest.raises(kp.errors.InvalidArgumentError, match="other columns"):
        fit(network(), kp.callbacks.PlasticityMonitor(csv_file=other, samples=x))
    with pytest.raises(kp.errors.DataError):
        fit(network(), kp.callbacks.PlasticityMonitor(samples=np.zeros((4, 5))))
