"""Weights of the classes in the loss that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import Samples
from keras_prelu.errors import InvalidArgumentError

__all__ = ["BALANCED", "check_class_weight", "class_weights"]

BALANCED = "balanced"


def check_class_weight(class_weight: Any) -> None:
    """Check that an argument gives weights of classes.

    Raises:
        InvalidArgumentError: A ValueError; it is neither "balanced" nor a dict of numbers.
    """
    if class_weight is None or (isinstance(class_weight, str) and class_weight == BALANCED):
        return
    if (
        not isinstance(class_weight, Mapping)
        or not class_weight
        or not all(
            isinstance(key, (int, np.integer)) and _is_weight(value)
            for key, value in class_weight.items()
        )
    ):
        raise InvalidArgumentError(
            "`class_weight` must be 'balanced' or a dict from class numbers to weights. Received:"
            f" class_weight={class_weight!r}"
        )


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and 0.0 <= float(value) < np.inf


def class_weights(class_weight: Any, train: Any) -> dict[int, float] | None:
    """Return the weight of each class, as `model.fit` takes it.

    Args:
        class_weight: "balanced" for n/(k·nᵢ), with nᵢ of n samples in the i-th of k classes, as in
            scikit-learn, so that the mean over the samples is 1; or a dict, or None.
        train: `Samples` with labels, or a stream of batches.

    Raises:
        InvalidArgumentError: A ValueError; the labels are not those of one classifier, or
            "balanced" is asked for with a stream.
    """
    if class_weight is None:
        return None
    if not isinstance(train, Samples):
        if class_weight == BALANCED:
            raise InvalidArgumentError(
                "class_weight='balanced' counts the labels, and a stream of batches is read only in"
                " training. Give samples, or a dict from class numbers to weights."
            )
        return {int(key): float(value) for key, value in class_weight.items()}
    numbers = _class_numbers(train.y)
    classes, counts = np.unique(numbers, return_counts=True)
    if class_weight == BALANCED:
        balanced = len(numbers) / (len(classes) * counts)
        return dict(zip(classes.tolist(), balanced.tolist(), strict=True))
    missing = sorted(set(classes.tolist()) - {int(key) for key in class_weight})
    if missing:
        raise InvalidArgumentError(
            f"`class_weight` has no weight for class {missing[0]}, which is among the labels."
        )
    return {int(key): float(value) for key, value in class_weight.items()}


def _class_numbers(labels: Any) -> np.ndarray:
    """Return the class of each sample."""
    parts = keras.tree.flatten(labels)
    array = np.asarray(parts[0]) if len(parts) == 1 else None
    if array is not None and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array is not None and array.ndim == 1 and np.array_equal(array, array.astype("int64")):
        return array.astype("int64")
    if array is not None and array.ndim == 2 and np.all(array.sum(axis=1) == 1):
        return array.argmax(axis=1)
    raise InvalidArgumentError(
        "`class_weight` needs one class number, or one-hot row, for each sample. Received labels of"
        f" shape {', '.join(str(np.shape(part)) for part in parts)}"
    )
