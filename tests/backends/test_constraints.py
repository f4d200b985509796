"""keras_prelu.constraints."""

import keras
import numpy as np
import pytest

from keras_prelu import PReLU, parameterizations
from keras_prelu.constraints import AtLeast, Between
from tests.helpers import references
from tests.helpers.gradients import gradients


def test_at_least_clips_from_below():
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(AtLeast(0.5)(np.float32([-1.0, 0.25, 0.5, 2.0]))),
        [0.5, 0.5, 0.5, 2.0],
    )


@pytest.mark.parametrize("minimum", [0, -1.0, float("nan"), float("inf"), True, "1"])
def test_a_minimum_that_is_not_positive_is_refused(minimum):
    with pytest.raises(
        ValueError, match=r"`minimum` must be a finite number above 0. Received: minimum="
    ):
        AtLeast(minimum)


def test_serialization():
    layer = PReLU.from_config(
        PReLU(parameterization="identity", alpha_constraint=AtLeast(0.01)).get_config()
    )
    assert layer.alpha_constraint.minimum == 0.01


def test_positive_names_identity_under_the_constraint():
    layer = PReLU(parameterization="positive")
    expected = PReLU(parameterization="identity", alpha_constraint=AtLeast(), name=layer.name)
    assert layer.get_config() == expected.get_config()
    again = PReLU.from_config(layer.get_config())
    assert again.alpha_constraint.minimum == 0.001


def test_positive_takes_no_other_constraint_and_no_smaller_slope():
    with pytest.raises(ValueError, match="has a constraint of its own"):
        PReLU(parameterization="positive", alpha_constraint=AtLeast(0.1))
    with pytest.raises(ValueError, match=r"The slope 0 is below 0\.001"):
        PReLU(0.0, parameterization="positive")
    with pytest.raises(ValueError, match="in PReLU and convert, 'positive'"):
        parameterizations.get("positive")


def test_training_stops_at_the_minimum():
    model = keras.Sequential(
        [keras.Input((2,)), PReLU(0.2, parameterization="identity", alpha_constraint=AtLeast(0.1))]
    )
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = -np.ones((8, 2), "float32")
    model.fit(x, np.ones_like(x), epochs=3, verbose=0)  # pulls the slopes below 0
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.layers[-1].alpha), [0.1, 0.1], rtol=1e-6
    )


def test_a_slope_assigned_below_the_minimum_counts_as_the_minimum():
    layer = PReLU(0.2, parameterization="identity", alpha_constraint=AtLeast(0.1))
    layer.build((None, 2))
    layer.alpha.assign(np.float32([-3.0, 0.4]))
    x = np.float32([[-1.0, -1.0], [2.0, -0.5]])
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(x)), references.prelu(x, [0.1, 0.4]), rtol=1e-6
    )
    (dx,) = gradients(lambda x: keras.ops.sum(layer(x)), x)
    np.testing.assert_allclose(dx, [[0.1, 0.4], [1.0, 0.4]], rtol=1e-6)


def test_between_clips_from_both_sides():
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(Between(0.5, 2.0)(np.float32([-1.0, 0.5, 1.0, 2.5]))),
        [0.5, 0.5, 1.0, 2.0],
    )
    with pytest.raises(ValueError, match=r"`maximum` must be"):
        Between(0.5, 0.4)
    layer = PReLU(parameterization="identity", alpha_constraint=Between(0.01, 2.0))
    again = PReLU.from_config(layer.get_config()).alpha_constraint
    assert (again.minimum, again.maximum) == (0.01, 2.0)


@pytest.mark.parametrize("maximum", [1.0, 2.0])
def test_a_slope_assigned_out_of_bounds_counts_as_the_bound(maximum):
    layer = PReLU(
        0.2, parameterization="identity", alpha_constraint=Between(0.1, maximum), max_value=1.5
    )
    layer.build((None, 3))
    layer.alpha.assign(np.float32([-3.0, 0.4, 5.0]))
    x = np.float32([[-1.0, -1.0, -2.0], [2.0, -0.5, 1.0]])
    expected = np.minimum(references.prelu(x, [0.1, 0.4, maximum]), 1.5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, rtol=1e-6)
    (dx,) = gradients(lambda x: keras.ops.sum(layer(x)), x)
    np.testing.assert_allclose(dx, [[0.1, 0.4, maximum], [0.0, 0.4, 1.0]], rtol=1e-6)


def test_training_stops_at_the_maximum():
    constraint = Between(0.1, 0.5)
    model = keras.Sequential(
        [keras.Input((2,)), PReLU(0.2, parameterization="identity", alpha_constraint=constraint)]
    )
    model.compile(keras.optimizers.SGD(1.0), "mse")
    x = -np.ones((8, 2), "float32")
    model.fit(x, -np.ones_like(x), epochs=3, verbose=0)  # pulls the slopes up to 1
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.layers[-1].alpha), [0.5, 0.5], rtol=1e-6
    )
