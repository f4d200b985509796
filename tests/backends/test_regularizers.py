"""keras_prelu.regularizers: AlphaL2, and the implicit bias of decay on β (claim 5), by training."""

import keras
import numpy as np
import pytest

from keras_prelu import PReLU, parameterizations, regularizers, theory

MAPS = parameterizations.names()
RATE, PENALTY, STEPS = 0.5, 0.5, 600


def test_alpha_l2_is_half_lambda_times_the_sum_of_squares():
    value = regularizers.AlphaL2(0.3)(keras.ops.convert_to_tensor(np.float32([1.0, -2.0])))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(value), 0.15 * 5.0, rtol=1e-6)
    assert regularizers.AlphaL2.from_config(regularizers.AlphaL2(0.3).get_config()).penalty == 0.3


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), "0.1", True])
def test_bad_penalty(penalty):
    with pytest.raises(ValueError, match="penalty"):
        regularizers.AlphaL2(penalty)


def slopes_after_decay(*alphas, steps, **kwargs):
    """Train with no data loss, under every map at once: only the penalty moves the slopes, one for
    each of the alphas."""
    inputs = keras.Input((len(alphas),))
    layers = {name: PReLU(alphas, parameterization=name, **kwargs) for name in MAPS}
    model = keras.Model(inputs, keras.layers.Add()([layer(inputs) for layer in layers.values()]))
    model.compile(
        keras.optimizers.SGD(RATE), loss=lambda y_true, y_pred: 0.0 * keras.ops.sum(y_pred)
    )
    x = np.ones((steps, len(alphas)), "float32")
    model.fit(x, x, batch_size=1, epochs=1, verbose=0)
    return {name: keras.ops.convert_to_numpy(layer.alpha) for name, layer in layers.items()}


@pytest.fixture(scope="module")
def after_decay_of_beta():
    """Each of the steps multiplies β by 0.95."""
    return slopes_after_decay(0.2, 0.9, steps=200, beta_regularizer=keras.regularizers.L2(0.05))


@pytest.fixture(scope="module")
def after_alpha_l2():
    regularizer = regularizers.AlphaL2(PENALTY)
    return slopes_after_decay(0.25, steps=STEPS, alpha_regularizer=regularizer)


@pytest.mark.parametrize("parameterization", MAPS)
def test_decay_of_beta_pulls_to_the_maps_fixed_point(parameterization, after_decay_of_beta):
    slopes = after_decay_of_beta[parameterization]
    np.testing.assert_allclose(slopes, theory.L2_FIXED_POINTS[parameterization], atol=1e-3)


@pytest.mark.parametrize("parameterization", MAPS)
def test_alpha_l2_pulls_to_zero_under_every_map(parameterization, after_alpha_l2):
    (slope,) = after_alpha_l2[parameterization]
    time = PENALTY * RATE * STEPS
    # Gradient flow dβ/dt = −λ·α·dα/dβ gives dα/dt = −λ·α·(dα/dβ)². It ends at 0 under every map,
    # but slowly where dα/dβ vanishes there.
    if parameterization == "exp":
        np.testing.assert_allclose(slope, 1 / np.sqrt(1 / 0.25**2 + 2 * time), rtol=0.02)
    elif parameterization == "square":
        np.testing.assert_allclose(slope, 1 / (1 / 0.25 + 4 * time), rtol=0.02)
    elif parameterization == "identity":
        assert abs(slope) < 1e-6
    else:  # like exp for small slopes, and slower before
        assert 0 < slope < 0.07


def test_without_a_penalty_nothing_moves():
    for slopes in slopes_after_decay(0.25, steps=3).values():
        np.testing.assert_allclose(slopes, 0.25, rtol=1e-6)
