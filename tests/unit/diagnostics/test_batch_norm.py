"""keras_prelu.diagnostics.batch_norm: γ after a rectifier and its closed forms (claim 8)."""

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
    """The figures of claim 8, for standard deviations of 1 and 3."""
    model = keras.Sequential([keras.Input((2,)), activation(), L.BatchNormalization(name="norm")])
    x = (np.random.default_rng(0).normal(size=(50000, 2)) * [1.0, 3.0]).astype("float32")
    (gammas,) = batch_norm_gammas(model, x, batch_size=4096)
    assert gammas.path == "norm"
    np.testing.assert_allclose(gammas.identity, np.array([1, 3]) * identity, rtol=0.01)
    np.testing.assert_allclose(gammas.reconstruction, np.array([1, 3]) * reconstruction, rtol=0.01)
    np.testing.assert_array_equal(gammas.gamma, 1.0)


def test_the_reconstructing_gamma_equals_a_least_squares_fit():
    """Least squares of x on the normalized outputs, by channel, over samples and positions."""
    slopes = np.array([0.1, 0.6], "float32")
    model = keras.Sequential([keras.Input((4, 2)), kp.PReLU(slopes), L.BatchNormalization()])
    x = np.random.default_rng(0).normal([0.5, -1.0], 1.0, (20000, 4, 2)).astype("float32")
    (gammas,) = batch_norm_gammas(model, x)
    for channel, slope in enumerate(slopes):
        values = x[..., channel].ravel()
        y = np.where(values > 0, values, slope * values)
        fitted = np.polyfit((y - y.mean()) / y.std(), values, 1)[0]
        assert gammas.reconstruction[channel] == pytest.approx(fitted, rel=0.01)
        assert gammas.identity[channel] == pytest.approx(y.std(), rel=0.01)


def test_no_record_before_a_rectifier_or_after_a_cap():
    inputs = keras.Input((3,))
    x = L.ReLU()(L.BatchNormalization()(L.Dense(3)(inputs)))
    x = L.BatchNormalization()(L.ReLU(6.0)(x))
    model = keras.Model(inputs, L.BatchNormalization(scale=False)(L.ReLU()(x)))
    assert batch_norm_gammas(model, np.zeros((4, 3), "float32")) == ()
