"""Check that labels fit a loss before they are used for training or measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.lazy import is_lazy, loaded
from keras_prelu.data.output_losses import (
    OutputLoss,
    OutputStructure,
    loss_name,
    output_losses,
    sample_losses,
)
from keras_prelu.data.samples import CheckedSamples, Samples, model_inputs
from keras_prelu.data.signature import input_signature, with_declared_inputs
from keras_prelu.errors import DataError, InvalidArgumentError, reason_of

__all__ = ["arranged", "check_labels"]

_FEW = 2
_OF_CLASS_NUMBERS = "sparse_categorical_crossentropy"
_OF_ONE_HOT = "categorical_crossentropy"
_OF_PROBABILITIES = "binary_crossentropy"


def check_labels(model: keras.Model, samples: Samples, loss: Any) -> None:
    """Check labels against a loss and the outputs of a model.

    Args:
        model: Keras model. It is built.
        samples: `Samples` with labels that fit the model.
        loss: Keras loss or its name; for several outputs one for all, or a list or dict of them;
            None if no loss is computed.

    Raises:
        DataError: Labels are text or for other outputs, or the loss can't be computed from labels
            and outputs.
        InvalidArgumentError: A ValueError; there is no such loss.
    """
    for part in keras.tree.flatten(samples.y):
        if not is_lazy(part) and np.asarray(part).dtype.kind in "SUO":
            raise DataError(
                f"The labels are text or objects, such as {np.ravel(part)[0]!r}. Give class numbers"
                " from 0 on: numpy.unique(y, return_inverse=True)[1]."
            )
    if loss is None:
        return
    graph = with_declared_inputs(model, samples.x)
    structure = _structure(model, graph)
    losses = output_losses(loss, None, structure)
    count = graph.inputs[0].shape[0] or _FEW
    labels = structure.aligned(samples.y, "labels")
    if len(samples) < count:
        return
    few = samples.take(slice(0, count))
    outputs = _outputs_like(graph, few, count)
    for one in losses:
        name = structure.names[one.output] if len(structure) > 1 else ""
        if labels[one.output] is None:
            raise DataError(
                f"There are no labels for the model's output '{structure.names[one.output]}', which"
                " has a loss."
            )
        _check_output(one, labels[one.output], outputs[one.output], count, name)


def arranged(model: keras.Model, samples: CheckedSamples) -> CheckedSamples:
    """Return samples as Keras wants them if outputs have weights of their own: labels and weights
    in the structure of the outputs.

    Args:
        model: Keras model. It is built.
        samples: `CheckedSamples` that fit the model, with labels.

    Raises:
        DataError: Labels or weights are for other outputs, or for some of them only.
    """
    if not isinstance(samples.weights, (dict, list, tuple)):
        return samples
    structure = _structure(model, with_declared_inputs(model, samples.x))
    parts = {}
    for what, given in (("labels", samples.y), ("sample weights", samples.weights)):
        parts[what] = structure.aligned(given, what)
        for name, part in zip(structure.names, parts[what], strict=True):
            if part is None:
                raise DataError(f"There are no {what} for the model's output '{name}'.")
    return replace(
        samples, y=structure.pack(parts["labels"]), weights=structure.pack(parts["sample weights"])
    )


def _structure(model: keras.Model, graph: keras.Model) -> OutputStructure:
    """Return the structure of a model's outputs; `graph` is the model with declared inputs."""
    symbolic = graph.outputs[0] if isinstance(graph, keras.Sequential) else graph.output
    return OutputStructure.of(model, symbolic)


def _check_output(loss: OutputLoss, labels: Any, output: Any, count: int, name: str) -> None:
    """Check the labels of an output by a few of them."""
    function, named = loss.function, loss_name(loss.function)
    of_output = f" of output '{name}'" if name else ""
    if _is_of_keras(function):
        _check_finite(labels, of_output)
    if named == _OF_CLASS_NUMBERS:
        _check_classes(labels, tuple(output.shape), getattr(function, "ignore_class", None))
    if named == _OF_PROBABILITIES:
        _check_probabilities(labels)
    shape = np.shape(labels)[1:]
    try:
        values = sample_losses(
            loss, keras.ops.convert_to_tensor(loaded(labels[:count])), output
        ).values
        keras.ops.convert_to_numpy(values)
    except Exception as error:  # Each backend has exceptions of its own.
        if isinstance(error, InvalidArgumentError) and error.__cause__ is None:
            return  # A loss of the whole batch; it is refused where samples are compared by it.
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise DataError(
            f"The loss {named}{of_output} can't be computed from labels of shape {shape} and"
            f" outputs of shape {tuple(output.shape[1:])} a sample ({reason_of(error, 80)})."
            f"{_advice(named, shape, tuple(output.shape[1:]))}"
        ) from error


def _is_of_keras(loss: Any) -> bool:
    """Return whether a loss is one of Keras's; a user's may leave out labels that are NaN."""
    of = loss if hasattr(loss, "__qualname__") else type(loss)
    wrapped = getattr(loss, "fn", of)
    return all(str(one.__module__).split(".")[0] == "keras" for one in (of, wrapped))


def _check_finite(labels: Any, of_output: str) -> None:
    if is_lazy(labels):
        return
    values = np.asarray(labels)
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        first = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(
            f"The labels{of_output} hold NaN or infinite values; the first is of sample {first}."
            " Leave such samples out, or give a loss of your own that does."
        )


def _outputs_like(model: keras.Model, few: Samples, count: int) -> list[Any]:
    """Return zeros like a model's outputs, or the outputs if a shape is unknown in advance.

    For text, Keras infers other shapes than some layers return.
    """
    shapes = [tuple(output.shape[1:]) for output in model.outputs]
    has_text = any(tensor.dtype == "string" for tensor in model.inputs)
    if not has_text and not any(None in shape for shape in shapes):
        return [
            keras.ops.zeros((count, *shape), dtype=output.dtype)
            for shape, output in zip(shapes, model.outputs, strict=True)
        ]
    signature = input_signature(model, few.x)
    inputs = keras_arrays(signature.pack(model_inputs(model, few)))
    with without_gradients():
        return keras.tree.flatten(model(inputs, training=False))


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
