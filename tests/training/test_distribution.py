"""Calibration and fine-tuning on two devices: the result of one, to float tolerance. In processes of their own, whose devices are set up
before anything else."""

import json
import os
import subprocess
import sys

import keras
import pytest

import keras_prelu as kp
from tests import models

COMMON = """
import json, keras, numpy as np, keras_prelu as kp
L = keras.layers
digits = kp.data.load("digits")
train, test = digits.train.take(slice(0, 300)), digits.test.take(slice(0, 100))

def tuned():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(16, "relu"), L.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    converted = kp.convert(model, calibration_data=train.x)
    return converted, kp.finetune(converted, model, train, test, epochs=2)

def report(one, two, replicas):
    difference = [max(float(np.abs(a - b).max()) for a, b in zip(x.get_weights(), y.get_weights())) for x, y in zip(one, two)]
    print(json.dumps({"calibrated": difference[0], "tuned": difference[1], "replicas": replicas}))
"""

MIRRORED = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
one = tuned()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two = tuned()
assert type(two[1].model.layers[0].kernel.value).__name__ == "MirroredVariable"
report((one[0], one[1].model), (two[0], two[1].model), strategy.num_replicas_in_sync)
"""

PARALLEL = """
one = tuned()
devices = keras.distribution.list_devices()
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
two = tuned()
assert len(two[1].model.layers[0].kernel.value.sharding.device_set) == 2
report((one[0], one[1].model), (two[0], two[1].model), len(devices))
"""


@pytest.mark.parametrize(("backend", "script"), [("tensorflow", MIRRORED), ("jax", PARALLEL)])
def test_two_devices_give_the_result_of_one(backend, script):
    if keras.backend.backend() != backend:
        pytest.skip(f"It is {backend}'s.")
    env = {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_force_host_platform_device_count=2" if backend == "jax" else ""}
    result = subprocess.run([sys.executable, "-c", COMMON + script], capture_output=True, text=True, timeout=300, check=False, env=env)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["replicas"] == 2
    assert found["calibrated"] < 1e-6
    assert 0 < found["tuned"] < 1e-5


@pytest.mark.tensorflow
def test_several_hosts_on_tensorflow_are_refused_with_the_reason():
    import tensorflow as tf

    model = models.mlp()
    x = models.samples(model, 40)
    with tf.distribute.MultiWorkerMirroredStrategy().scope(), pytest.raises(kp.errors.FineTuningError, match="MultiWorkerMirroredStrategy"):
        kp.finetune(model, None, (x, x[:, :3]), (x, x[:, :3]), control=False, loss="mse")
