"""What is set on single variables, and in no configuration, is the same in a converted model."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.layers import is_slope
from tests.helpers import custom

L = keras.layers


def nested():
    inputs = keras.Input((8,))
    inner = keras.Sequential([keras.Input((8,)), L.Dense(6, activation="relu"), L.ReLU()])
    return keras.Model(inputs, L.Dense(1)(inner(inputs)))


NETWORKS = {
    "Sequential": lambda: keras.Sequential(
        [keras.Input((8,)), L.Dense(6, activation="relu"), L.BatchNormalization(), L.Dense(1)]
    ),
    "nested": nested,
    "custom": lambda: custom.around(
        custom.Block(name="in"), L.Dense(4, activation="relu"), L.Dense(2)
    ),
    "wrapped": lambda: keras.Sequential(
        [
            keras.Input((5, 8)),
            L.TimeDistributed(L.Dense(6, activation="relu")),
            L.Bidirectional(L.GRU(3)),
        ]
    ),
}


def settings(model):
    return [
        (variable.regularizer, variable.constraint, variable.trainable)
        for variable in model.weights
        if not is_slope(variable)
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_of_variables_are_kept(name):
    model = NETWORKS[name]()
    for index, variable in enumerate(model.trainable_variables):
        if index % 3 == 0:
            variable.regularizer = keras.regularizers.L2(0.1)
        elif index % 3 == 1:
            variable.constraint = keras.constraints.MaxNorm(100.0)
        else:
            variable.trainable = False
    expected = settings(model)
    converted = kp.convert(model)
    assert settings(converted) == expected
    assert len(converted.losses) == len(model.losses)


def test_a_removed_regularizer_stays_removed():
    layer = L.Dense(4, activation="relu", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), layer, L.Dense(1)])
    layer.kernel.regularizer = None
    assert kp.convert(model).losses == []


def test_calibration_keeps_a_constraint_that_is_set_on_a_variable():
    model = NETWORKS["Sequential"]()
    for layer in (model.layers[0], model.layers[-1]):
        layer.kernel.constraint = keras.constraints.NonNeg()
        layer.kernel.assign(np.abs(layer.get_weights()[0]))
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    converted = kp.convert(model, alpha=0.25, calibration_data=x)
    assert min(converted.layers[0].get_weights()[0].min(), converted.get_weights()[-2].min()) >= 0
