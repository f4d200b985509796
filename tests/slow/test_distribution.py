"""Calibration and fine-tuning on four devices: the result of one, to float tolerance. In processes
of their own, whose devices are set up before anything else."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import Samples
from tests.helpers import models
from tests.helpers.processes import output_of_python, run_python

COMMON = """
import json, sys, keras, numpy as np, keras_prelu as kp
L = keras.layers
digits = kp.data.load("digits")
train, test = digits.train.take(slice(0, 300)), digits.test.take(slice(0, 100))

def network():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(16, "relu"), L.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model

def tuned(**options):
    model = network()
    converted = kp.convert(model, calibration_data=train.x)
    return converted, kp.finetune(converted, train, test, original=model, epochs=2, **options)

class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == (1, 5):
            raise KeyboardInterrupt

def interrupted(folder):
    try:
        tuned(checkpoints=folder, save_freq=2, callbacks=[Interrupt()])
    except KeyboardInterrupt:
        return
    raise AssertionError("It was not interrupted.")

def searched():
    return kp.convert(network(), alpha="auto", calibration_data=train.x[:150])

def report(one, two, replicas):
    difference = [max(float(np.abs(a - b).max()) for a, b in zip(x.get_weights(), y.get_weights())) for x, y in zip(one, two)]
    print(json.dumps({"calibrated": difference[0], "tuned": difference[1], "replicas": replicas}))
"""

MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
one = tuned()
strategy = tf.distribute.MirroredStrategy([f"CPU:{device}" for device in range(4)])
with strategy.scope():
    two = tuned()
    interrupted(sys.argv[1])
assert type(two[1].model.layers[0].kernel.value).__name__ == "MirroredVariable"
again = tuned(checkpoints=sys.argv[1], save_freq=2)  # on one device
for a, b in zip(one[1].model.get_weights(), again[1].model.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
report((one[0], one[1].model), (two[0], two[1].model), strategy.num_replicas_in_sync)
"""

PARALLEL = """
one = tuned()
devices = keras.distribution.list_devices()
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
two = tuned()
assert len(two[1].model.layers[0].kernel.value.sharding.device_set) == 4
fewer = test.take(slice(0, 33))
kp.convert(network(), alpha="auto", calibration_data=train.x[:131])
odd = kp.finetune(two[0], train.take(slice(0, 65)), fewer, selection=fewer, epochs=1, control=False)
# Keras itself can't divide the last batch, of one sample
assert np.isfinite(odd.prelu.history["val_loss"]).all()
kp.diagnose(two[0], train.take(slice(0, 65)))
kp.evaluate(two[0], fewer)
report((one[0], one[1].model), (two[0], two[1].model), len(devices))
"""

# Kernels and slopes are divided among two devices, and batches among two pairs of them.
SHARDED = """
one, slopes = tuned(), searched()
mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], keras.distribution.list_devices())
layout = keras.distribution.LayoutMap(mesh)
layout[".*conv2d.*/kernel"] = (None, None, None, "model")
layout[".*conv2d.*/beta"] = (None, None, "model")
layout[".*dense.*/kernel"] = (None, "model")
layout[".*dense.*/(bias|beta)"] = ("model",)
keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
two = tuned()
for model in two[0], two[1].model:
    whole = [v.path for v in model.trainable_variables if v.value.sharding.is_fully_replicated]
    assert whole == [model.layers[0].bias.path], whole
found = searched()
for a, b in zip(slopes.get_weights(), found.get_weights(), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
report((one[0], one[1].model), (two[0], two[1].model), len(mesh.devices.reshape(-1)))
"""

HOST = """
import sys
rank, hosts, address, checkpoints = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if hosts > 1:
    keras.distribution.initialize(",".join([address] * hosts), hosts, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
model = network()
converted = kp.convert(model, rescale="none")
# The layers have as few rows as to be solved from them, and as many as to be summed up
images = train.x[:180]
calibration = kp.calibrate(converted, model, images, batch_size=50)
results = [
    kp.finetune(
        converted,
        train,
        test,
        original=model,
        selection=test,
        epochs=2,
        batch_size=30,
        checkpoints=f"{checkpoints}/run",
        callbacks=[kp.callbacks.SlopeMonitor(csv_file=f"{checkpoints}/slopes.csv", samples=test.x)],
    )
    for _ in range(2)
]
if rank == 0:  # the others do not wait
    kp.save_model(results[0].model, f"{checkpoints}/model.keras")
weights = [[weight.tolist() for weight in x.get_weights()] for x in (converted, results[0].model, results[1].model)]
print(json.dumps({"weights": weights, "error": calibration.error_after, "samples": calibration.samples, "held_out": calibration.held_out}))
"""

# One of several processes, or a process alone. It says which share of the rows it has read in
# training and how many bytes it has sent to the others in calibration.
RESHARDED = """
import os, signal, sys
rank, hosts, address, folder, is_killed = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5] == "killed"
if hosts > 1:
    keras.distribution.initialize(",".join([address] * hosts), hosts, rank)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
from keras_prelu.backend import hosts as exchange
from keras_prelu.training.data_order import ShuffledBatches
rows, sent = [], []
read, gather = ShuffledBatches._batch, exchange.gather

def counted_read(self, index):
    batch = read(self, index)
    rows.append((len(batch[0]), batch[0].nbytes))
    return batch

def counted_gather(array):
    sent.append(array.nbytes)
    return gather(array)

exchange.gather, ShuffledBatches._batch = counted_gather, counted_read

class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if is_killed and (self.now, batch) == (1, 5):
            exchange.wait_for_all("they are killed")
            os.kill(os.getpid(), signal.SIGKILL)

model = network()
converted = kp.convert(model, rescale="none")
calibration = kp.calibrate(converted, model, train.x[:180], batch_size=50)
calibrated = sum(sent)
found = kp.convert(model, alpha="auto", calibration_data=train.x[:100])
rows.clear()
result = kp.finetune(
    converted,
    train,
    test,
    original=model,
    selection=test,
    epochs=2,
    batch_size=32,
    control=False,
    checkpoints=folder,
    save_freq=2,
    callbacks=[Kill()],
)
weights = [[weight.tolist() for weight in x.get_weights()] for x in (converted, found, result.model)]
print(json.dumps({"weights": weights, "error": calibration.error_after, "history": result.prelu.history,
    "rows": sum(count for count, _ in rows), "bytes": sum(size for _, size in rows), "sent": calibrated}))
"""


@pytest.mark.parametrize(
    ("backend", "script", "devices"),
    [
        pytest.param("tensorflow", MIRRORED, 4, marks=pytest.mark.tensorflow),
        pytest.param("jax", PARALLEL, 4, marks=pytest.mark.jax),
        pytest.param("jax", SHARDED, 4, marks=pytest.mark.jax),
    ],
    ids=["mirrored", "parallel", "sharded"],
)
def test_several_devices_give_the_result_of_one(backend, script, devices, tmp_path):
    flags = f"--xla_force_host_platform_device_count={devices}" if backend == "jax" else ""
    printed = output_of_python(
        "-c", COMMON + script, tmp_path / "run", KERAS_BACKEND=backend, XLA_FLAGS=flags
    )
    found = json.loads(printed.splitlines()[-1])
    assert found["replicas"] == devices
    assert found["calibrated"] < 1e-6
    assert 0 < found["tuned"] < 1e-5


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.jax
def test_two_hosts_give_the_result_of_one(tmp_path):
    """Two processes of JAX, each with half of the samples of a calibration and half of each batch
    of a fine-tuning."""
    address = free_address()

    def start(rank, hosts, folder):
        return run_python("-c", COMMON + HOST, rank, hosts, address, tmp_path / folder)

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(start, (0, 1, 0), (2, 2, 1), ("two", "two", "one")))
    assert all(process.returncode == 0 for process in ended), [
        process.stderr[-2000:] for process in ended
    ]
    first, second, alone = (json.loads(process.stdout.splitlines()[-1]) for process in ended)
    assert first == second
    assert (
        (first["samples"], first["held_out"]) == (alone["samples"], alone["held_out"]) == (180, 36)
    )
    np.testing.assert_allclose(first["error"], alone["error"], rtol=1e-6)
    for two, one, tolerance in zip(
        first["weights"], alone["weights"], (1e-6, 1e-5, 1e-5), strict=True
    ):
        for a, b in zip(two, one, strict=True):
            np.testing.assert_allclose(a, b, atol=tolerance)
    assert (
        first["weights"][1] == first["weights"][2]
    )  # the second time they come from the checkpoints
    # Some versions of filelock leave the lock's file.
    names = {path.name for path in (tmp_path / "two" / "run").iterdir()} - {".lock"}
    assert names == {"control.npz", "key.json", "model.npz"}
    lines = (tmp_path / "two" / "slopes.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "epoch",
        "0",
        "0",
        "1",
        "1",
    ]  # two layers, written by one host


@pytest.mark.jax
def test_a_job_that_is_killed_goes_on_with_other_numbers_of_processes(tmp_path):
    """Killed in the middle of an epoch with two processes, resumed with four and with one."""

    def run(hosts, folder, *, is_killed=False):
        address = free_address()
        arguments = [hosts, address, tmp_path / folder, "killed" if is_killed else "whole"]
        with ThreadPoolExecutor() as pool:
            starts = [
                pool.submit(run_python, "-c", COMMON + RESHARDED, rank, *arguments)
                for rank in range(hosts)
            ]
        return [start.result() for start in starts]

    def printed(processes):
        assert all(process.returncode == 0 for process in processes), [
            process.stderr[-2000:] for process in processes
        ]
        return [json.loads(process.stdout.splitlines()[-1]) for process in processes]

    assert [process.returncode for process in run(2, "four", is_killed=True)] == [-9, -9]
    shutil.copytree(tmp_path / "four", tmp_path / "one")
    (whole,), four, (one,) = (printed(run(*job)) for job in ((1, "whole"), (4, "four"), (1, "one")))
    for found in (*four, one):
        np.testing.assert_allclose(found["error"], whole["error"], rtol=1e-5)
        for name, values in whole["history"].items():
            np.testing.assert_allclose(found["history"][name], values, rtol=1e-4, atol=1e-5)
        for models_, expected in zip(found["weights"], whole["weights"], strict=True):
            for a, b in zip(models_, expected, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
    # Two epochs of 300 images, of which the first and four batches of the second were done before.
    # Of a batch that is passed over, each process reads a row.
    left = 300 - 4 * 32
    assert [found["rows"] for found in (whole, one, *four)] == [600, left + 4, *[left // 4 + 4] * 4]
    for process in four:
        assert process["weights"] == four[0]["weights"]
        assert process["bytes"] == process["rows"] * 8 * 8 * 4
        assert 0 < process["sent"] < 1e5
    assert one["sent"] == 0


def test_batches_that_can_not_be_divided(monkeypatch):
    monkeypatch.setattr("keras_prelu.data.batches.replicas", lambda: 4)
    with pytest.raises(ValueError, match="multiple of the 4 devices"):
        Batches(Samples(np.zeros((40, 2)), np.zeros(40)), 30)
    monkeypatch.setattr("keras_prelu.data.batches.hosts", lambda: 2)
    samples = Samples(np.arange(23.0), np.arange(23))
    seen = []
    for host in range(2):
        monkeypatch.setattr("keras_prelu.data.batches.host", lambda host=host: host)
        part = Batches(samples, 8)
        assert len(part) == 3
        seen.append([part[index][1].tolist() for index in range(3)])
    assert seen == [
        [[0, 1, 2, 3], [8, 9, 10, 11], [16, 17]],
        [[4, 5, 6, 7], [12, 13, 14, 15], [18, 19]],
    ]
    assert len(Batches(Samples(np.zeros(19), np.zeros(19)), 8)) == 2


def test_several_hosts_need_a_distribution(monkeypatch):
    model = models.mlp()
    x = models.samples(model, 40)
    monkeypatch.setattr("keras_prelu.training.arguments.hosts", lambda: 2)
    with pytest.raises(kp.errors.FineTuningError, match="auto_shard_dataset=False"):
        kp.finetune(model, (x, x[:, :3]), (x, x[:, :3]), control=False, loss="mse")


def test_processes_of_pytorch_are_refused_with_the_reason(monkeypatch):
    torch = pytest.importorskip("torch")
    if keras.backend.backend() != "torch":
        pytest.skip("no process of PyTorch")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 8)
    model = models.mlp()
    x = models.samples(model, 40)
    with pytest.raises(kp.errors.FineTuningError, match=r"8 processes of torch\.distributed"):
        kp.finetune(model, (x, x[:, :3]), (x, x[:, :3]), control=False, loss="mse")


@pytest.mark.tensorflow
def test_several_hosts_on_tensorflow_are_refused_with_the_reason():
    import tensorflow as tf

    model = models.mlp()
    x = models.samples(model, 40)
    with (
        tf.distribute.MultiWorkerMirroredStrategy().scope(),
        pytest.raises(kp.errors.FineTuningError, match="MultiWorkerMirroredStrategy"),
    ):
        kp.finetune(model, (x, x[:, :3]), (x, x[:, :3]), control=False, loss="mse")
