"""Check that labels fit a loss before they are used for training or measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.data.lazy import is_lazy
from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.samples import Samples, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.errors import DataError, reason_of

__all__ = ["check_labels"]

_FEW = 2
_OF_CLASS_NUMBERS = "sparse_categorical_crossentropy"
_OF_ONE_HOT = "categorical_crossentropy"
_OF_PROBABILITIES = "binary_crossentropy"


def check_labels(model: keras.Model, samples: Samples, loss: Any) -> None:
    """Check labels against a loss and the outputs of a model.

    Args:
        model: Keras model. It is built. If it has several outputs, only labels that are text are
            refused.
        samples: `Samples` with labels that fit the model.
        loss: Keras loss or its name; None if no loss is computed.

    Raises:
        DataError: Labels are text, or the loss can't be computed from labels and outputs.
        InvalidArgumentError: A ValueError; there is no such loss.
    """
    loss = resolved_loss(loss)
    parts = keras.tree.flatten(samples.y)
    for part in parts:
        if not is_lazy(part) and np.asarray(part).dtype.kind in "SUO":
            raise DataError(
                f"The labels are text or objects, such as {np.ravel(part)[0]!r}. Give class numbers"
                " from 0 on: numpy.unique(y, return_inverse=True)[1]."
            )
    if loss is None:
        return
    model = with_declared_inputs(model, samples.x)
    count = model.inputs[0].shape[0] or _FEW
    if (
        isinstance(loss, (dict, list, tuple))
        or len(parts) != 1
        or len(model.outputs) != 1
        or len(samples) < count
    ):
        return
    name = str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))
    if name == _OF_CLASS_NUMBERS:
        _check_classes(parts[0], tuple(model.outputs[0].shape), getattr(loss, "ignore_class", None))
    if name == _OF_PROBABILITIES:
        _check_probabilities(parts[0])
    few = samples.take(slice(0, count))
    outputs = _outputs_like(model, few, count)
    try:
        loss(keras.ops.convert_to_tensor(few.y), outputs)
    except Exception as error:  # Each backend has exceptions of its own.
        raise DataError(
            f"The loss {name} can't be computed from labels of shape {np.shape(few.y)[1:]} and"
            f" outputs of shape {tuple(outputs.shape[1:])} a sample ({reason_of(error, 80)})."
            f"{_advice(name, np.shape(few.y)[1:], tuple(outputs.shape[1:]))}"
        ) from error


def _outputs_like(model: keras.Model, few: Samples, count: int) -> Any:
    """Return zeros like a model's outputs, or the outputs if their shape is unknown in advance."""
    shape = tuple(model.outputs[0].shape[1:])
    if None not in shape:
        return keras.ops.zeros((count, *shape), dtype=model.outputs[0].dtype)
    inputs = model_inputs(model, few)
    return model(inputs if len(inputs) > 1 else inputs[0], training=False)


def _check_classes(labels: Any, outputs: tuple[int | None, ...], ignored: int | None) -> None:
    """Raise a DataError for a class number that a model does not have.

    Some backends compute NaN or a plausible loss for such a number.
    """
    *positions, classes = outputs[1:]
    in_classes = any(
        _fits(np.shape(labels)[1:], expected) for expected in (positions, [*positions, 1])
    )
    if (
        is_lazy(labels)
        or classes is None
        or not in_classes
        or np.asarray(labels).dtype.kind not in "iuf"
    ):
        return
    wrong = [
        number
        for number in np.unique(labels)
        if number != ignored and not (0 <= number < classes and number == int(number))
    ]
    if wrong:
        raise DataError(
            f"The label {wrong[-1]} is none of the model's {classes} classes, which are 0 to"
            f" {classes - 1}."
        )


def _check_probabilities(labels: Any) -> None:
    if is_lazy(labels) or np.asarray(labels).dtype.kind not in "iuf":
        return
    low, high = float(np.min(labels)), float(np.max(labels))
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"The labels reach from {low:g} to {high:g}, but {_OF_PROBABILITIES} takes 0, 1 and"
            " probabilities between. For more than two classes give the model an output for each"
            f" of them and the loss {_OF_CLASS_NUMBERS!r}."
        )


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        size in (None, length) for length, size in zip(shape, expected, strict=True)
    )


def _advice(loss: str, labels: tuple[int, ...], outputs: tuple[int, ...]) -> str:
    if loss == _OF_CLASS_NUMBERS and labels == outputs:
        return f" Give class numbers, y.argmax(-1), or a loss for one-hot labels, {_OF_ONE_HOT!r}."
    if loss == _OF_ONE_HOT and len(labels) == len(outputs) == 1 and labels[0] > 1:
        return f" The labels have {labels[0]} classes, the model {outputs[0]}."
    if loss == _OF_ONE_HOT and labels in ((), (1,)):
        return (
            " Give one-hot labels, keras.utils.to_categorical(y), or a loss for class numbers,"
            f" {_OF_CLASS_NUMBERS!r}."
        )
    return ""
