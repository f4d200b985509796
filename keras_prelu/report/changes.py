"""What changed for the samples: accuracy by class, and the samples that are decided otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.prediction import predict
from keras_prelu.data.samples import Samples, model_inputs
from keras_prelu.data.signature import input_signature

__all__ = ["ChangedSample", "ClassAccuracy", "changed_samples", "class_accuracies"]

_SHOWN_SAMPLES = 12
"""The largest number of changed samples of each kind that a report shows."""
_MOST_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """How many samples of one class each of two networks gets right.

    Attributes:
        label: Integer. The number of the class.
        samples: Integer. The number of its samples.
        before: Float. The share that the original gets right.
        after: Float. The share that the converted network gets right.
        gained: Integer. Samples that only the converted network gets right.
        lost: Integer. Samples that only the original gets right.
    """

    label: int
    samples: int
    before: float
    after: float
    gained: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class ChangedSample:
    """A sample that one of two networks gets right and the other does not.

    Attributes:
        index: Integer. Its position among the samples.
        label: Integer. The number of its class.
        before: Integer. The class that the original decides for.
        after: Integer. The class that the converted network decides for.
        image: NumPy array of shape (height, width) or (height, width, 3) with values from 0 to 1,
            or None if the sample is no image.
    """

    index: int
    label: int
    before: int
    after: int
    image: np.ndarray | None


def class_accuracies(labels: Any, before: np.ndarray, after: np.ndarray) -> list[ClassAccuracy]:
    """Return the accuracies by class, in the order of the classes.

    Args:
        labels: Labels of a classifier, as numbers or one-hot.
        before: Array of 0 and 1. Whether the original gets each sample right.
        after: Array of 0 and 1. Whether the converted network does.

    Returns:
        A list; it is empty if the samples have no class of their own, or more than 1,000 classes.
    """
    numbers = _numbers(labels, len(before))
    if numbers is None or len(np.unique(numbers)) > _MOST_CLASSES:
        return []
    return [
        ClassAccuracy(
            label=int(label),
            samples=int(chosen.sum()),
            before=float(before[chosen].mean()),
            after=float(after[chosen].mean()),
            gained=int(np.sum(after[chosen] > before[chosen])),
            lost=int(np.sum(after[chosen] < before[chosen])),
        )
        for label in np.unique(numbers)
        for chosen in [numbers == label]
    ]


def changed_samples(
    models: Sequence[keras.Model], data: Samples, before: np.ndarray, after: np.ndarray
) -> list[ChangedSample]:
    """Return samples that only one of two networks gets right: first those that are lost.

    Args:
        models: The original and the converted network.
        data: `Samples` with labels.
        before: Array of 0 and 1. Whether the original gets each sample right.
        after: Array of 0 and 1. Whether the converted network does.

    Returns:
        A list of at most 24, a dozen of each kind; it is empty if samples have no class of their
        own.
    """
    numbers = _numbers(data.y, len(before))
    if numbers is None:
        return []
    lost = np.flatnonzero(after < before)[:_SHOWN_SAMPLES]
    gained = np.flatnonzero(after > before)[:_SHOWN_SAMPLES]
    indices = np.concatenate([lost, gained])
    if not len(indices):
        return []
    chosen = data.take(indices)
    decisions = [
        _decisions(model, chosen, numbers[indices], right[indices])
        for model, right in zip(models, (before, after), strict=True)
    ]
    images = _images(chosen.x)
    return [
        ChangedSample(
            index=int(index),
            label=int(numbers[index]),
            before=int(decisions[0][position]),
            after=int(decisions[1][position]),
            image=None if images is None else images[position],
        )
        for position, index in enumerate(indices)
    ]


def _numbers(labels: Any, count: int) -> np.ndarray | None:
    """Return the class of each sample, or None if a sample has not one class."""
    parts = keras.tree.flatten(labels)
    if len(parts) != 1:
        return None
    array = np.asarray(parts[0])
    if array.ndim == 2 and array.shape[1] > 1:
        return array.argmax(axis=1)
    if array.size != count:
        return None
    return array.reshape(-1).round().astype("int64")


def _decisions(
    model: keras.Model, samples: Samples, labels: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Return the classes that a model decides for.

    With one output for two classes, they follow from what is right by the scores, whose threshold
    depends on the loss.
    """
    inputs = input_signature(model, samples.x).pack(model_inputs(model, samples))
    outputs = keras.ops.convert_to_numpy(predict(model, inputs))
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    return np.where(right == 1, labels, 1 - labels)


def _images(x: Any) -> np.ndarray | None:
    """Return the samples as images with values from 0 to 1, or None if they are none."""
    parts = keras.tree.flatten(x)
    array: Any = np.asarray(parts[0]) if len(parts) == 1 else np.zeros(0)
    if array.dtype.kind not in "fiu" or array.ndim not in (3, 4) or min(array.shape[1:3]) < 4:
        return None
    if array.ndim == 4 and keras.config.image_data_format() == "channels_first":
        array = np.moveaxis(array, 1, -1)
    if array.ndim == 4 and array.shape[-1] not in (1, 3):
        return None
    if array.ndim == 3 and array.shape[1] != array.shape[2]:  # More likely a series.
        return None
    array = array.astype("float64")
    low, high = array.min(), array.max()
    scaled: np.ndarray = (array - low) / ((high - low) or 1.0)
    is_gray = scaled.ndim == 4 and np.shape(scaled)[-1] == 1
    return scaled[..., 0] if is_gray else scaled
