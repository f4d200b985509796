"""keras_prelu.regularizers: AlphaL2, and the implicit bias of decay on β (claim 5), by training."""

import keras
import numpy as np
import pytest

from keras_prelu import PReLU, parameterizations, regularizers, theory

MAPS = parameterizations.names()
RATE, STEPS = 0.5, 600


def test_alpha_l2_is_half_lambda_times_the_sum_of_squares():
    value = regularizers.AlphaL2(0.3)(keras.ops.convert_to_tensor(np.float32([1.0, -2.0])))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(value), 0.15 * 5.0, rtol=1e-6)
    assert regularizers.AlphaL2.from_config(regularizers.AlphaL2(0.3).get_config()).penalty == 0.3


@pytest.mark.parametrize("penalty", [-1.0, float("nan"), "0.1", True])
def test_bad_penalty(penalty):
    with pytest.raises(ValueError, match="penalty"):
        regularizers.AlphaL2(penalty)


def slope_after_decay(parameterization, alpha, **kwargs):
    """Train with no data loss: only the penalty moves the slope."""
    model = keras.Sequential(
        [keras.Input((1,)), PReLU(alpha, parameterization=parameterization, **kwargs)]
    )
    model.compile(
        keras.optimizers.SGD(RATE), loss=lambda y_true, y_pred: 0.0 * keras.ops.sum(y_pred)
    )
    x = np.ones((1, 1), "float32")
    model.fit(x.repeat(STEPS, 0), x.repeat(STEPS, 0), batch_size=1, epochs=1, verbose=0)
    return float(keras.ops.convert_to_numpy(model.layers[0].alpha).item())


@pytest.mark.parametrize("parameterization", MAPS)
@pytest.mark.parametrize("alpha", [0.2, 0.9])
def test_decay_of_beta_pulls_to_the_maps_fixed_point(parameterization, alpha):
    slope = slope_after_decay(parameterization, alpha, beta_regularizer=keras.regularizers.L2(0.05))
    np.testing.assert_allclose(slope, theory.L2_FIXED_POINTS[parameterization], atol=1e-3)


@pytest.mark.parametrize("parameterization", MAPS)
def test_alpha_l2_pulls_to_zero_under_every_map(parameterization):
    penalty = 0.5
    slope = slope_after_decay(
        parameterization, 0.25, alpha_regularizer=regularizers.AlphaL2(penalty)
    )
    time = penalty * RATE * STEPS
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
    np.testing.assert_allclose(slope_after_decay("exp", 0.25), 0.25, rtol=1e-6)
