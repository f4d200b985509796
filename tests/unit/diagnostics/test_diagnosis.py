"""keras_prelu.diagnostics.diagnosis: known faults are diagnosed and named."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import diagnose
from keras_prelu.diagnostics.diagnosis import MEASURES
from tests.helpers import models

L = keras.layers


def test_dead_units_and_a_signal_that_explodes_are_named():
    model = models.live_in(
        keras.Sequential(
            [
                keras.Input((6,)),
                *(L.Dense(10, activation="relu", name=f"d{i}") for i in range(5)),
                L.Dense(2),
            ]
        )
    )
    for layer in model.layers[1:]:
        layer.kernel.assign(np.abs(keras.ops.convert_to_numpy(layer.kernel)) * 50)
    kernel, bias = model.layers[2].get_weights()
    kernel[:, :3], bias[:3] = 0.0, -1.0
    model.layers[2].set_weights([kernel, bias])
    x = models.samples(model, 100)
    diagnosis = diagnose(model, x)
    assert diagnosis.measures["dead"] >= 3 / 50
    texts = {finding.measure: finding.text for finding in diagnosis.findings}
    assert "most at 'd2'" in texts["dead"]
    assert "from 'd0' to" in texts["signal"]
    assert diagnosis.measures["signal"] > 1e4
    assert diagnosis.noise is None
    assert "noise" not in diagnosis.measures


def test_a_healthy_network_with_labels():
    keras.utils.set_random_seed(0)
    dense = [
        L.Dense(32, kernel_initializer=kp.initializers.PReLUHeNormal(seed=i)) for i in range(2)
    ]
    model = keras.Sequential(
        [keras.Input((16,)), dense[0], kp.PReLU(), dense[1], kp.PReLU(), L.Dense(3)]
    )
    rng = np.random.default_rng(0)
    data = kp.data.Samples(rng.normal(size=(64, 16)).astype("float32"), rng.integers(0, 3, 64))
    diagnosis = diagnose(
        model, data, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    assert [finding.measure for finding in diagnosis.findings] == ["noise"]
    assert set(diagnosis.measures) == set(MEASURES)
    assert diagnosis.measures["dead"] == diagnosis.measures["nearly-dead"] == 0
    assert diagnosis.measures["one-sided"] <= 2 / 64
    assert diagnosis.measures["noise"] == diagnosis.noise.scale
    assert diagnosis.samples == 64


def test_slopes_of_zero_are_one_sided():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4), kp.PReLU(0.0, parameterization="identity"), L.Dense(2)]
    )
    diagnosis = diagnose(models.live_in(model), models.samples(model, 50))
    assert diagnosis.measures["one-sided"] == 1.0
    (finding,) = [finding for finding in diagnosis.findings if finding.measure == "one-sided"]
    assert "bake --prune" in finding.advice


def test_a_network_without_rectifiers_has_no_findings():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    diagnosis = diagnose(model, models.samples(model, 10))
    assert (diagnosis.units, diagnosis.findings, diagnosis.measures) == ((), (), {})
    with pytest.raises(kp.errors.DataError):
        diagnose(model, np.zeros((3, 5), "float32"))
