"""Comparison of the outputs of an exported file in a runtime with those of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.data.predicted_classes import predicted_classes
from keras_prelu.data.prediction import predict
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.typing import Array

__all__ = [
    "accuracy",
    "described_difference",
    "largest_difference",
    "model_outputs",
    "relative_error",
]

Outputs = Sequence[Array]
"""The arrays that a model puts out for all samples, in a fixed order."""


def model_outputs(model: keras.Model, inputs: Any) -> list[Array]:
    """Return the outputs of a model in float64."""
    outputs = keras.tree.flatten(predict(model, inputs))
    return [np.asarray(array, dtype=np.float64) for array in outputs]


def largest_difference(
    outputs: Outputs, expected: Outputs, all_expected: Outputs | None = None
) -> float:
    """Return the largest difference of any element, relative to the output's largest element.

    Each output is compared with its own largest element.

    Args:
        outputs: Sequence of arrays. The outputs of the runtime.
        expected: Sequence of arrays. The outputs of the model.
        all_expected: Sequence of arrays or None. The outputs of the model for more samples, among
            which the largest elements are. Defaults to None, `expected`.

    Returns:
        A float: infinite if the shapes differ, NaN if an element is NaN.
    """
    if [array.shape for array in outputs] != [array.shape for array in expected]:
        return float("inf")
    differences = [0.0]
    for array, target, samples in zip(outputs, expected, all_expected or expected, strict=False):
        difference, scale = np.abs(array - target).max(), np.abs(samples).max()
        differences.append(difference / scale if scale else difference)
    return float(np.max(differences))  # Python's max() may lose a NaN.


def described_difference(
    outputs: Outputs, expected: Outputs, difference: float, limit: float
) -> str:
    """Return words for a difference that is not allowed.

    Args:
        outputs: Sequence of arrays. The outputs of the runtime.
        expected: Sequence of arrays. The outputs of the model.
        difference: Float. What `largest_difference` returns for them.
        limit: Float. The largest that is allowed.
    """
    shapes, expected_shapes = (
        " and ".join(str(array.shape) for array in arrays) for arrays in (outputs, expected)
    )
    if shapes != expected_shapes:
        return f"of shape {shapes} instead of {expected_shapes}"
    return (
        f"by {difference:.2g} of the largest output, and {limit:g} is allowed (tolerance,"
        " --tolerance)"
    )


def relative_error(outputs: Outputs, expected: Outputs) -> float:
    """Return the mean squared difference over the variance, over all outputs together.

    Args:
        outputs: Sequence of arrays. The outputs to judge.
        expected: Sequence of arrays of the same shapes. The values that `outputs` should have.
    """
    # Each output is centered separately, so that different means of the outputs do not add to the
    # variance.
    means = [array.mean() for array in expected]
    return theory.relative_error(_centered(outputs, means), _centered(expected, means))


def _centered(arrays: Outputs, means: Sequence[float]) -> Array:
    return np.concatenate(
        [(array - mean).ravel() for array, mean in zip(arrays, means, strict=True)]
    )


def accuracy(outputs: Outputs, labels: Any, loss: Any = None) -> float | None:
    """Return the percentage of samples whose largest output is that of their class.

    A single output stands for two classes.

    Args:
        outputs: Sequence of arrays. One array of shape (samples, classes), or (samples, 1).
        labels: Array of integers, of shape (samples,), or None.
        loss: Keras loss, or None. It says from which value on a single output means class 1, see
            `predicted_classes`. Defaults to None.

    Returns:
        A float, or None without labels.

    Raises:
        InvalidArgumentError: The labels are not class numbers of these outputs.
    """
    if labels is None:
        return None
    classes, first = np.asarray(labels).reshape(len(labels), -1), outputs[0]
    is_one_each = classes.shape == (len(first), 1) and classes.dtype.kind in "iu"
    predicted = (
        predicted_classes(classes, first, loss) if len(outputs) == 1 and is_one_each else None
    )
    if predicted is None:
        raise InvalidArgumentError(
            "`labels` must be class numbers, one for each sample, of a model with one output of a"
            " number for each class, or of one number for the classes 0 and 1. Received: labels of"
            f" shape {np.shape(labels)} and type {classes.dtype}, outputs of shapes"
            f" {[array.shape for array in outputs]}"
        )
    return 100.0 * float(np.mean(predicted.ravel() == classes[:, 0]))
