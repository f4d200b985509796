"""keras_prelu.diagnostics.batch_norm: γ after a rectifier beside its closed forms (claim 8)."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import batch_norm_gammas

L = keras.layers


@pytest.mark.parametrize(
    ("activation", "identity", "reconstruction"),
    [
        (L.ReLU, 0.584, 0.856),
        (lambda: kp.PReLU(0.25), 0.665, 0.940),
        (lambda: L.LeakyReLU(negative_slope=0.5), 0.765, 0.980),
    ],
)
def test_closed_forms_of_normal_pre_activations(activation, identity, reconstruction):
    """Claim 8's figures, for standard deviations of 1 and 3; the trained statistics are those of
    the outputs, so γ can be compared."""
    model = keras.Sequential([keras.Input((2,)), activation(), L.BatchNormalization(name="norm")])
    x = (np.random.default_rng(0).normal(size=(50000, 2)) * [1.0, 3.0]).astype("float32")
    (found,) = batch_norm_gammas(model, x, batch_size=4096)
    assert found.path == "norm"
    np.testing.assert_allclose(found.identity, np.array([1, 3]) * identity, rtol=0.01)
    np.testing.assert_allclose(found.reconstruction, np.array([1, 3]) * reconstruction, rtol=0.01)
    np.testing.assert_array_equal(found.gamma, 1.0)


def test_a_fitted_gamma_is_the_one_that_reconstructs_best():
    """Least squares of x on the normalized outputs, with a slope for each channel and positions
    beside the samples."""
    slopes = np.array([0.1, 0.6], "float32")
    model = keras.Sequential([keras.Input((4, 2)), kp.PReLU(slopes), L.BatchNormalization()])
    x = np.random.default_rng(0).normal([0.5, -1.0], 1.0, (20000, 4, 2)).astype("float32")
    (found,) = batch_norm_gammas(model, x)
    for channel, slope in enumerate(slopes):
        values = x[..., channel].ravel()
        y = np.where(values > 0, values, slope * values)
        fitted = np.polyfit((y - y.mean()) / y.std(), values, 1)[0]
        assert found.reconstruction[channel] == pytest.approx(fitted, rel=0.01)
        assert found.identity[channel] == pytest.approx(y.std(), rel=0.01)


def test_before_a_rectifier_or_after_a_cap_there_is_none():
    inputs = keras.Input((3,))
    x = L.ReLU()(L.BatchNormalization()(L.Dense(3)(inputs)))
    x = L.BatchNormalization()(L.ReLU(6.0)(x))
    model = keras.Model(inputs, L.BatchNormalization(scale=False)(L.ReLU()(x)))
    assert batch_norm_gammas(model, np.zeros((4, 3), "float32")) == ()
