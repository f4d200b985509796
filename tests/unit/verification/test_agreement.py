"""keras_prelu.verification.agreement: what counts as a difference."""

import numpy as np
import pytest

from keras_prelu.verification.agreement import difference, magnitude, prediction_difference
from keras_prelu.verification.prediction import Prediction, Value


def value(array, dtype="float32", mask=None):
    return Value(array=np.asarray(array, dtype), dtype=dtype, mask=mask)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (value([1.0, NAN, INF]), value([1.0, NAN, INF]), ""),
        (value([1.0, 2.0]), value([1.0, 2.0 + 1e-7]), ""),
        (value([1.0, 2.0]), value([1.0, 2.1]), "differ by up to 0.1"),
        (value([1.0, 2.0]), value([[1.0, 2.0]]), "shape"),
        (value([1.0]), value([1.0], "float16"), "dtype"),
        (value([1.0]), value([NAN]), "NaN"),
        (value([NAN]), value([1.0]), "NaN"),
        (value([INF]), value([-INF]), "infinite"),
        (value([1]), value([1], mask=np.array([True])), "a mask that was not there"),
        (value([1], mask=np.array([True])), value([1]), "lost"),
        (value([1], mask=np.array([True])), value([1], mask=np.array([False])), "mask differs"),
        (value([1, 2], "int32"), value([1, 2], "int32"), ""),
        (value([1, 2], "int32"), value([1, 3], "int32"), "differ"),
        (value([True], "bool"), value([False], "bool"), "differ"),
    ],
)
def test_difference(first, second, reason):
    found = difference(first, second, tolerance=1e-6)
    assert reason in found
    assert bool(found) == bool(reason)


def prediction(*outputs, structure=None, losses=0.0):
    return Prediction(
        structure=list(range(len(outputs))) if structure is None else structure,
        outputs=outputs,
        losses=losses,
    )


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (prediction(value([1.0]), value([2.0])), ""),
        (prediction(value([1.0]), value([3.0])), "output 1"),
        (prediction(value([1.0])), "structure"),
        (prediction(value([1.0]), value([2.0]), structure={"a": 0, "b": 1}), "structure"),
        (prediction(value([1.0]), value([2.0]), losses=0.5), "losses"),
    ],
)
def test_prediction_difference(other, reason):
    first = prediction(value([1.0]), value([2.0]))
    found = prediction_difference(first, other, epsilon=1e-7, units=32.0)
    assert reason in found
    assert bool(found) == bool(reason)


def test_the_tolerance_grows_with_intermediate_values():
    one, other = prediction(value([0.0])), prediction(value([1e-3]))
    arguments = {"epsilon": 1e-7, "units": 32.0}
    assert prediction_difference(one, other, **arguments)
    assert not prediction_difference(one, other, **arguments, intermediate=1e4)


def test_magnitude_ignores_what_is_not_a_number():
    assert magnitude([value([-3.0, NAN, INF]), value([2], "int32"), value([], "float32")]) == 3.0
