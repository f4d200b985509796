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


def total_loss(model):
    return sum(keras.ops.convert_to_numpy(loss).item() for loss in model.losses)


def test_a_stock_prelu_keeps_its_constraint_and_regularizer():
    """Also where the new slopes have a map of their own, which knows no constraint of Keras."""
    stock = L.PReLU(
        alpha_initializer=keras.initializers.Constant(0.1),
        alpha_constraint="non_neg",
        alpha_regularizer=keras.regularizers.L2(1.0),
    )
    model = keras.Sequential([keras.Input((8,)), L.Dense(6), stock, L.ReLU(), L.Dense(1)])
    expected = 6 * 0.1**2
    for options in ({}, {"parameterization": "exp", "alpha": 0.25, "rescale": "none"}):
        converted = kp.convert(model, **options)
        layer = converted.layers[1]
        assert isinstance(layer.alpha_constraint, keras.constraints.NonNeg)
        np.testing.assert_allclose(total_loss(converted), expected, rtol=1e-6)
    chosen = kp.convert(model, alpha_regularizer=keras.regularizers.L2(0.5))
    np.testing.assert_allclose(total_loss(chosen), expected / 2, rtol=1e-6)
    # A step that would make all slopes negative ends at 0.
    converted = kp.convert(model)
    slopes = converted.layers[1].trainable_variables[0]
    slopes.assign(slopes.constraint(keras.ops.full(slopes.shape, -1.0)))
    assert not np.any(converted.layers[1].get_weights()[0])


def test_calibration_keeps_a_constraint_that_is_set_on_a_variable():
    model = NETWORKS["Sequential"]()
    for layer in (model.layers[0], model.layers[-1]):
        layer.kernel.constraint = keras.constraints.NonNeg()
        layer.kernel.assign(np.abs(layer.get_weights()[0]))
    x = np.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    converted = kp.convert(model, alpha=0.25, calibration_data=x)
    assert min(converted.layers[0].get_weights()[0].min(), converted.get_weights()[-2].min()) >= 0
