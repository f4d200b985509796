"""keras_prelu.calibration.smooth_slopes: the PReLU that is nearest to a smooth activation."""

from statistics import NormalDist

import keras
import numpy as np
import pytest

from keras_prelu import PReLU
from keras_prelu.calibration.smooth_slopes import Smooth, fit_smooth_slopes
from keras_prelu.graph.plan import compile_plan

L = keras.layers


def fitted(function, x, **options):
    """Return the slopes of a PReLU that are fitted to a function on inputs."""
    options = {"alpha_initializer": 0.25, "parameterization": "identity", **options}
    layer = PReLU(**options)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, layer(inputs))
    means = fit_smooth_slopes(
        compile_plan(model), [x], {layer.name: Smooth(layer, function)}, batch_size=16
    )
    slopes = keras.ops.convert_to_numpy(layer.alpha)
    assert means == {layer.name: pytest.approx(slopes.mean(), abs=1e-6)}
    return slopes


def drawn(*shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * rng.uniform(0.5, 3, shape[-1]) + rng.normal(size=shape[-1])
    return x.astype("float32")


def best_slope(x, f):
    """Return the ratio of the factors of both sides in the best fit with an offset."""
    quantiles = np.asarray(NormalDist().quantiles(65))
    rows = np.concatenate([x, quantiles])
    targets = np.concatenate([f(x), f(quantiles)])
    weights = np.concatenate(
        [np.full(len(x), 1 / len(x)), np.full(len(quantiles), 0.01 / len(quantiles))]
    )
    design = np.stack([np.maximum(rows, 0), np.minimum(rows, 0), np.ones(len(rows))], axis=1)
    root = np.sqrt(weights)
    of_positive, of_negative, _ = np.linalg.lstsq(design * root[:, None], targets * root)[0]
    return np.clip(of_negative / of_positive, 0.001, 0.99)


def silu(x):
    return x / (1 + np.exp(-x))


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


@pytest.mark.parametrize(
    ("function", "reference"), [(keras.activations.silu, silu), (keras.activations.elu, elu)]
)
def test_each_channel_gets_the_slope_of_the_best_fit(function, reference):
    x = drawn(50, 3, 4)
    slopes = fitted(function, x)
    assert slopes.shape == (1, 4)
    expected = [best_slope(x[..., k].ravel().astype(np.float64), reference) for k in range(4)]
    np.testing.assert_allclose(slopes[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"shared_axes": "channel_shared"}, lambda x: x.reshape(-1, 1)),
        ({"shared_axes": None}, lambda x: x.reshape(len(x), -1)),
        ({"shared_axes": [2]}, lambda x: np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])),
        (
            {"data_format": "channels_first"},
            lambda x: np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]),
        ),
    ],
)
def test_slopes_that_are_shared_are_fitted_to_all_that_they_meet(options, rows):
    x = drawn(40, 3, 2)
    slopes = fitted(keras.activations.silu, x, **options)
    expected = [best_slope(column.astype(np.float64), silu) for column in rows(x).T]
    np.testing.assert_allclose(slopes.ravel(), expected, rtol=1e-4)


def test_a_scaled_and_shifted_leaky_relu_is_found_exactly():
    def leaky(x):
        return 0.5 * keras.ops.leaky_relu(x, 0.3) - 2.0

    np.testing.assert_allclose(fitted(leaky, drawn(40, 5)), 0.3, rtol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_inputs_on_one_side_give_slopes_within_the_limits(sign):
    x = sign * (np.abs(drawn(40, 5)) + 1)
    for function in (keras.activations.silu, keras.activations.elu, keras.activations.softplus):
        slopes = fitted(function, x)
        assert ((slopes >= 0.001 - 1e-6) & (slopes <= 0.99 + 1e-6)).all()
    assert np.isfinite(fitted(keras.activations.gelu, np.zeros((20, 5), "float32"))).all()


def test_layers_that_are_not_seen_get_the_slope_for_normal_inputs():
    inner = PReLU(0.25, parameterization="identity")
    inner.build((None, 4))
    inputs = keras.Input((3, 4))
    outputs = L.TimeDistributed(L.Dense(4))(inputs)  # `inner` is not called by the model
    model = keras.Model(inputs, outputs)
    fit_smooth_slopes(
        compile_plan(model),
        [drawn(20, 3, 4)],
        {"inner": Smooth(inner, keras.activations.silu)},
        batch_size=16,
    )
    quantiles = np.asarray(NormalDist().quantiles(65))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(inner.alpha), best_slope(quantiles, silu), rtol=1e-4
    )


def test_constraints_hold():
    slopes = fitted(keras.activations.gelu, np.abs(drawn(40, 5)) * -3, parameterization="positive")
    assert (slopes >= np.float32(0.001)).all()
