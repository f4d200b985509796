"""keras_prelu.conversion.batch_norm_folding: a BatchNormalization in the layer before it, where
that is right, and nowhere else."""

import keras
import numpy as np
import pytest

from keras_prelu.conversion.batch_norm_folding import fold_batch_normalization
from tests.helpers import models

L = keras.layers


def normalizations(model):
    return sum(isinstance(layer, L.BatchNormalization) for layer in model.layers)


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((5,), lambda: L.Dense(4)),
        ((5,), lambda: L.Dense(4, use_bias=False)),
        ((7, 3), lambda: L.Conv1D(4, 3)),
        ((8, 8, 4), lambda: L.Conv2D(6, 3, groups=2, use_bias=False)),
        ((8, 8, 3), lambda: L.DepthwiseConv2D(3, depth_multiplier=2)),
        ((8, 8, 3), lambda: L.SeparableConv2D(5, 3, use_bias=False)),
        ((8, 8, 3), lambda: L.Conv2DTranspose(5, 3, strides=2)),
        ((4, 5, 5, 2), lambda: L.Conv3D(3, 2)),
    ],
)
def test_every_kind_of_layer_against_what_it_computed(shape, make):
    linear = make()
    model = models.live_in(
        keras.Sequential([keras.Input(shape), linear, L.BatchNormalization(), L.ReLU()])
    )
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == 0
    assert [layer.name for layer in folded.layers] == [
        layer.name for layer in model.layers if not isinstance(layer, L.BatchNormalization)
    ]
    x = models.samples(model, 16)
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(folded(x)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def test_without_scale_or_center():
    model = keras.Sequential(
        [keras.Input((5,)), L.Dense(4), L.BatchNormalization(scale=False, center=False)]
    )
    models.live_in(model)
    x = models.samples(model, 16)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(fold_batch_normalization(model)(x)),
        keras.ops.convert_to_numpy(model(x)),
        rtol=1e-4,
        atol=1e-5,
    )


def kept():
    """BatchNormalizations that must stay: after an activation, a layer that another reads or one
    called twice; on another axis."""
    inputs = keras.Input((6, 6))
    x = L.BatchNormalization()(L.Dense(6, activation="tanh")(inputs))
    y = L.Dense(6)(x)
    y = L.Add()([L.BatchNormalization()(y), y])
    twice = L.Dense(6)
    z = L.BatchNormalization()(twice(twice(y)))
    z = L.BatchNormalization(axis=1)(L.Dense(6)(z))
    return keras.Model(inputs, z)


def test_what_can_not_be_folded_stays():
    model = models.live_in(kept())
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == normalizations(model) == 4
    x = models.samples(model, 16)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(folded(x)), keras.ops.convert_to_numpy(model(x))
    )
