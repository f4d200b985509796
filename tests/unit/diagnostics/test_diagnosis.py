"""keras_prelu.diagnostics.diagnosis: what is wrong by construction is found, and named."""

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
    found = diagnose(model, x)
    assert found.measures["dead"] >= 3 / 50
    texts = {finding.measure: finding.text for finding in found.findings}
    assert "most at 'd2'" in texts["dead"]
    assert "from 'd0' to" in texts["signal"]
    assert found.measures["signal"] > 1e4
    assert found.noise is None
    assert "noise" not in found.measures


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
    found = diagnose(model, data, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert [finding.measure for finding in found.findings] == ["noise"]
    assert set(found.measures) == set(MEASURES)
    assert found.measures["dead"] == found.measures["nearly-dead"] == 0
    assert found.measures["one-sided"] <= 2 / 64
    assert found.measures["noise"] == found.noise.scale
    assert found.samples == 64


def test_slopes_of_zero_are_one_sided():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(4), kp.PReLU(0.0, parameterization="identity"), L.Dense(2)]
    )
    found = diagnose(models.live_in(model), models.samples(model, 50))
    assert found.measures["one-sided"] == 1.0
    (finding,) = [finding for finding in found.findings if finding.measure == "one-sided"]
    assert "bake --prune" in finding.advice


def test_a_network_without_rectifiers_has_nothing_to_find():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2)])
    found = diagnose(model, models.samples(model, 10))
    assert (found.units, found.findings, found.measures) == ((), (), {})
    with pytest.raises(kp.errors.DataError):
        diagnose(model, np.zeros((3, 5), "float32"))
