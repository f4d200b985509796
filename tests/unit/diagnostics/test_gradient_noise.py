"""keras_prelu.diagnostics.gradient_noise: a known noise scale is estimated (claim 9)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import gradient_noise

L = keras.layers


def regression(bias=True):
    model = keras.Sequential([keras.Input((3,)), L.Dense(1, use_bias=bias)])
    model.layers[0].set_weights([np.zeros((3, 1)), *([np.zeros(1)] if bias else [])])
    model.compile("sgd", "mse")
    return model


def test_a_known_noise_scale():
    """From weights 0 the gradient of (xᵀw − y)² is −2·y·x: for x = (1, 0, 0) and y normal of mean 2
    and deviation 3, 9/4."""
    x = np.tile(np.float32([[1, 0, 0]]), (4000, 1))
    y = np.random.default_rng(0).normal(2.0, 3.0, (4000, 1)).astype("float32")
    estimate = gradient_noise(regression(bias=False), (x, y), limit=4000)
    assert estimate.samples == 4000
    assert estimate.variance == pytest.approx(4 * 9, rel=0.1)
    assert estimate.squared_norm == pytest.approx(4 * 4, rel=0.1)
    assert estimate.scale == pytest.approx(9 / 4, rel=0.15)
    assert [part.relative_variance for part in estimate.variables] == [estimate.scale]


def test_unbiased_against_the_gradients_of_single_samples():
    rng = np.random.default_rng(1)
    x, y = (
        rng.normal(size=(64, 3)).astype("float32"),
        rng.normal(1.0, 1.0, (64, 1)).astype("float32"),
    )
    estimate = gradient_noise(regression(), kp.data.Samples(x, y), group=1)
    single = np.concatenate([-2 * y * x, -2 * y], axis=1).astype(np.float64)
    variance = single.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(estimate.variance, variance, rtol=1e-5)
    np.testing.assert_allclose(
        estimate.squared_norm, np.square(single.mean(axis=0)).sum() - variance / 64, rtol=1e-4
    )
    grouped = gradient_noise(regression(), kp.data.Samples(x, y), group=8)
    assert grouped.variance == pytest.approx(variance, rel=0.5)


def test_the_scale_is_infinite_if_the_mean_can_not_be_told_from_zero():
    x = np.float32([[1, 0, 0], [1, 0, 0]] * 8)
    y = np.float32([[1], [-1]] * 8)
    estimate = gradient_noise(regression(bias=False), (x, y), group=1)
    assert estimate.scale == float("inf")
    assert estimate.squared_norm < 0


def test_the_model_is_not_changed():
    rng = np.random.default_rng(0)
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(8), L.BatchNormalization(), kp.PReLU(), L.Dense(3)]
    )
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    estimate = gradient_noise(
        model,
        (rng.normal(size=(40, 4)).astype("float32"), rng.integers(0, 3, 40)),
        loss=loss,
        limit=32,
    )
    assert estimate.samples == 32
    assert len(estimate.variables) == len(model.trainable_variables)
    assert all(part.relative_variance > 0 for part in estimate.variables)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_errors_name_what_is_missing():
    model, x = regression(), np.zeros((20, 3), "float32")
    with pytest.raises(kp.errors.DataError, match="labels"):
        gradient_noise(model, kp.data.Samples(x, None))
    with pytest.raises(kp.errors.DataError, match="two groups of 16"):
        gradient_noise(model, (x, np.zeros((20, 1))), group=16)
    with pytest.raises(
        kp.errors.InvalidArgumentError, match="`group` must be an integer of at least 1"
    ):
        gradient_noise(model, (x, np.zeros((20, 1))), group=0)
    with pytest.raises(kp.errors.InvalidArgumentError, match="not compiled"):
        gradient_noise(keras.Sequential([keras.Input((3,)), L.Dense(1)]), (x, np.zeros((20, 1))))
