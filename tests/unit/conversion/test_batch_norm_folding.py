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


class Doubling(L.BatchNormalization):
    """A subclass that computes something else."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training)


def pair(linear=None, normalization=None, pinned=None):
    """Return a model of a linear layer and a BatchNormalization."""
    inputs = keras.Input((5,))
    kwargs = {} if pinned is None else {"training": pinned}
    h = (linear or L.Dense(4))(inputs)
    return keras.Model(inputs, L.ReLU()((normalization or L.BatchNormalization())(h, **kwargs)))


def pinned_outside():
    """A model that is called in training mode."""
    inner, inputs = pair(), keras.Input((5,))
    return keras.Model(inputs, inner(inputs, training=True))


def shared():
    """A BatchNormalization that is called twice, once on a linear layer's outputs."""
    inputs, normalization = keras.Input((4,)), L.BatchNormalization()
    return keras.Model(inputs, normalization(L.Dense(4)(normalization(inputs))))


def einsum():
    inputs = keras.Input((3, 5))
    h = L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(inputs)
    return keras.Model(inputs, L.BatchNormalization()(h))


@pytest.mark.parametrize(
    "build",
    [
        lambda: pair(normalization=Doubling()),
        lambda: pair(pinned=True),
        pinned_outside,
        shared,
        einsum,
        lambda: pair(L.Dense(4, dtype="float16")),
        lambda: pair(L.Dense(4, dtype="mixed_bfloat16")),
        lambda: pair(normalization=L.BatchNormalization(dtype="mixed_float16")),
        lambda: pair(L.Dense(4, kernel_constraint="non_neg")),
        lambda: pair(normalization=L.BatchNormalization(gamma_constraint="non_neg")),
        lambda: pair(normalization=L.BatchNormalization(activity_regularizer="l2")),
        lambda: pair(L.Dense(4, activity_regularizer="l2")),
    ],
)
def test_pairs_that_would_compute_something_else_stay(build):
    model = models.live_in(build())
    folded = fold_batch_normalization(model)
    every = [layer for layer in folded._flatten_layers() if isinstance(layer, L.BatchNormalization)]
    assert len(every) == 1
    x = models.samples(model, 16)
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.ops.cast(folded(x), "float32")),
        keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32")),
    )


@pytest.mark.parametrize(
    ("policy", "variance", "folds"),
    [
        ("float16", 1.0, True),
        ("mixed_float16", 1.0, True),
        ("mixed_bfloat16", 1e-30, True),
        ("float64", 1e-60, True),
        ("float32", 1e-70, False),  # Beyond the largest number.
        ("float16", 1e-12, False),
        ("mixed_float16", 1e-12, False),
        ("float16", 1e12, False),  # Subnormal, so that few digits are left.
    ],
)
def test_folded_weights_fit_their_dtype(policy, variance, folds):
    epsilon = 0.0 if folds or variance < 1 else 1e-3
    normalization = L.BatchNormalization(epsilon=epsilon, dtype=policy)
    model = pair(L.Dense(4, dtype=policy), normalization)
    if policy != "float16":
        normalization.moving_variance.assign(np.full(4, variance))
    else:
        normalization.gamma.assign(np.full(4, min(variance**-0.5, 6e4)))
        model.layers[1].kernel.assign(np.full((5, 4), 3.0 if variance < 1e6 else 0.5))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == (not folds)
    assert all(np.isfinite(weights).all() for weights in folded.get_weights())


def test_regularizers_of_folded_layers_go_and_an_output_keeps_its_name():
    inputs = keras.Input((5,))
    h = L.Dense(4, kernel_regularizer="l2", bias_regularizer="l1")(inputs)
    model = keras.Model(inputs, L.BatchNormalization(name="scores")(h))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == 0
    assert folded.losses == []
    assert folded.output_names == model.output_names == ["scores"]
