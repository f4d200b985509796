"""keras_prelu.calibration.shared_slopes: the LeakyReLU that is nearest to a PReLU."""

import keras
import numpy as np
import pytest

from keras_prelu import PReLU
from keras_prelu.calibration.shared_slopes import shared_slope, shared_slopes
from keras_prelu.graph.plan import compile_plan

L = keras.layers


def with_slopes(shape, **options):
    """Return a model of a PReLU, the layer, and its slopes."""
    layer = PReLU(0.25, parameterization="identity", **options)
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layer(inputs))
    layer.beta.assign(np.random.default_rng(0).uniform(0, 0.5, layer.beta.shape))
    return model, layer, keras.ops.convert_to_numpy(layer.alpha).astype(np.float64)


@pytest.mark.parametrize(
    "options",
    [{}, {"shared_axes": None}, {"shared_axes": [2]}, {"data_format": "channels_first"}],
)
def test_the_slope_is_that_of_least_squares(options):
    model, layer, slopes = with_slopes((3, 4), **options)
    x = np.random.default_rng(1).normal(size=(50, 3, 4)) * [0.5, 1, 2, 4] + [1, 0, -1, 0]
    x = x.astype("float32")
    found = shared_slopes(compile_plan(model), [x], {"act": layer}, batch_size=16)
    negative = np.minimum(x.astype(np.float64), 0)
    outputs = slopes * negative
    expected = np.linalg.lstsq(negative.reshape(-1, 1), outputs.ravel())[0]
    assert found == {"act": pytest.approx(expected[0], rel=1e-5)}
    assert abs(expected[0] - slopes.mean()) > 1e-3


def test_without_negative_inputs_it_is_the_mean_and_never_negative():
    model, layer, slopes = with_slopes((4,))
    plan = compile_plan(model)
    positive = np.ones((20, 4), "float32")
    assert shared_slopes(plan, [positive], {"act": layer}, batch_size=16) == {
        "act": pytest.approx(slopes.mean())
    }
    layer.beta.assign(-layer.beta.value)
    assert shared_slope(layer) == 0.0
    assert shared_slopes(plan, [-positive], {"act": layer}, batch_size=16) == {"act": 0.0}
