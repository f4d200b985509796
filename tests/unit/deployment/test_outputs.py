"""keras_prelu.deployment.outputs: comparisons of arrays with known answers."""

import keras
import numpy as np
import pytest

from keras_prelu.deployment.outputs import (
    accuracy,
    described_difference,
    largest_difference,
    relative_error,
)
from keras_prelu.errors import InvalidArgumentError


def test_each_output_is_compared_with_its_own_largest_element():
    expected = [np.array([[1.0, -4.0]]), np.array([[100.0]])]
    outputs = [np.array([[1.0, -4.2]]), np.array([[101.0]])]
    assert largest_difference(outputs, expected) == pytest.approx(0.05)
    assert largest_difference(expected, expected) == 0


def test_the_difference_from_zeros_is_absolute():
    assert largest_difference([np.array([0.5])], [np.zeros(1)]) == 0.5


def test_a_difference_is_described_by_its_shape_or_size():
    outputs, expected = [np.zeros((8, 8, 4))], [np.zeros((8, 32, 4))]
    words = described_difference(outputs, expected, np.inf, 1e-4)
    assert words == "of shape (8, 8, 4) instead of (8, 32, 4)"
    assert described_difference(expected, expected, 0.01, 1e-4).startswith("by 0.01 of the largest")


def test_other_shapes_are_infinitely_far():
    assert largest_difference([np.zeros((2, 1))], [np.zeros(2)]) == np.inf
    assert largest_difference([np.zeros(2)], [np.zeros(2), np.zeros(2)]) == np.inf


@pytest.mark.parametrize("position", [0, 1])
def test_nan_in_any_output_is_a_difference(position):
    expected = [np.ones((2, 3)), np.ones((2, 3))]
    outputs = [array.copy() for array in expected]
    outputs[position][0, 0] = np.nan
    assert not largest_difference(outputs, expected) <= 1.0


def test_the_error_of_several_outputs_is_that_of_all_squares_over_all_variances():
    """The means of the outputs, 0 and 100, add nothing to the variance."""
    expected = [np.array([-1.0, 1.0]), np.array([98.0, 102.0])]
    outputs = [np.array([-1.0, 2.0]), np.array([98.0, 100.0])]
    assert relative_error(outputs, expected) == pytest.approx((1 + 4) / (2 + 8))
    assert relative_error(expected, expected) == 0


def test_accuracy_is_in_percent():
    outputs = [np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])]
    assert accuracy(outputs, [1, 0, 1, 1]) == 75.0
    assert accuracy(outputs, np.array([[1], [0], [1], [0]])) == 100.0
    assert accuracy(outputs, None) is None


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        ("binary_crossentropy", [0.4, 0.6, 0.9, 0.1], 75.0),
        (keras.losses.BinaryCrossentropy(from_logits=True), [0.4, -0.6, 0.9, -0.1], 25.0),
        (None, [-3.0, 2.0, 0.1, 0.2], 100.0),  # Not from 0 to 1, so these are logits.
        (None, [0.4, 0.6, 0.9, 0.1], 75.0),
    ],
)
def test_accuracy_of_a_single_output(loss, outputs, expected):
    """Labels 0, 1, 1 and 1: an output is of class 1 above 0.5, or above 0 for logits."""
    assert accuracy([np.array(outputs)[:, None]], [0, 1, 1, 1], loss) == expected


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ([np.eye(3)], [0, 1]),
        ([np.eye(3)], [0.0, 1.0, 2.0]),
        ([np.eye(3)], np.eye(3, dtype=int)),
        ([np.ones((3, 1))], [0, 2, 0]),
        ([np.eye(3), np.eye(3)], [0, 1, 2]),
        ([np.ones((3, 2, 2))], [0, 1, 1]),
    ],
    ids=["too few", "floats", "one-hot", "class 2 of two", "two outputs", "images"],
)
def test_what_are_no_class_numbers_is_refused(outputs, labels):
    with pytest.raises(InvalidArgumentError, match="must be class numbers, one for each sample"):
        accuracy(outputs, labels)
