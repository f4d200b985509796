"""Inputs to probe a model with, drawn to fit its input spec.

Sizes that the spec leaves open are the first of `_SIZES` that fits the model and that it takes.
Numbers that a layer looks up (Embedding, IntegerLookup, one-hot encodings) stay below the size of
its table, sequences of them end in zeros, which may be masked, and strings come from a vocabulary.
Other numbers are of several magnitudes, so that caps and thresholds are met.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.data.declarations import declares_inputs
from keras_prelu.errors import reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.verification.prediction import (
    Prediction,
    argument_shapes,
    predict_once,
    shapes_at_build,
)

__all__ = ["COUNT", "Probe", "first_batch", "input_structure", "probe", "probe_with"]

COUNT = 4
"""Number of samples in a probe, unless the model has a fixed batch size."""

_SIZES = (8, 32, 96, 224)
_MOST_AXES_OF_NUMBERS = 3
"""Tensors with more axes are images; a layer that reads them may look up positions instead."""

_LOOKUPS = ("IntegerLookup", "StringLookup", "TextVectorization")


@dataclass(frozen=True)
class Probe:
    """Inputs that a model was called with, and what it predicted.

    Attributes:
        inputs: Array, or list or dict of arrays, in the structure that the model takes.
        prediction: `Prediction` of the model.
        drawn: Boolean. Whether the inputs were drawn instead of taken from samples.
    """

    inputs: Any
    prediction: Prediction
    drawn: bool


def probe_with(model: keras.Model, samples: Any) -> Probe:
    """Return a probe of a model with the first of some samples.

    Args:
        model: `keras.Model`.
        samples: Array, or list or dict of arrays, in the structure that the model takes.

    Raises:
        Exception: Whatever the model raises.
    """
    count = _batch_size(model) or COUNT
    inputs = keras.tree.map_structure(lambda array: _first(np.asarray(array), count), samples)
    return Probe(inputs=inputs, prediction=predict_once(model, inputs), drawn=False)


def probe(model: keras.Model, scale: float = 1.0) -> Probe | str:
    """Return a probe of a model with inputs that are drawn, or the reason why there is none.

    Args:
        model: `keras.Model`. It is built.
        scale: Float. Factor of the floating-point numbers that are drawn. Defaults to 1.0.
    """
    reason = "the shape of its inputs is not known"
    structure = input_structure(model)
    if structure is None:
        return reason
    plan = compile_plan(model) if is_taken_apart(model) else None
    for size in _sizes(model, structure):
        inputs = _drawn(model, structure, plan, size, scale)
        try:
            prediction = predict_once(model, inputs)
        except Exception as error:  # Whatever the model raises for sizes that it does not take.
            reason = reason_of(error)
            continue
        if all(value.array.size for value in prediction.outputs):
            return Probe(inputs=inputs, prediction=prediction, drawn=True)
    return reason


def _sizes(model: keras.Model, structure: Any) -> Iterator[int]:
    """Yield the sizes to try in place of open ones: first those that fit the model."""
    others = []
    for size in _SIZES:
        if _fits(model, structure, size):
            yield size
        else:
            others.append(size)
    yield from others


def _fits(model: keras.Model, structure: Any, size: int) -> bool:
    """Return whether Keras finds a size for what each layer of a model with a graph computes.

    TensorFlow's depthwise convolutions run with kernels that are larger than the image too, and
    return what happens to be in memory. A model whose shapes can't be computed fits no size.
    """
    tensors = keras.tree.flatten(structure)
    if not functional.has_graph(model) or all(None not in each.shape[1:] for each in tensors):
        return True
    shapes = [_with_size(tensor, size) for tensor in tensors]
    try:
        model.compute_output_shape(keras.tree.pack_sequence_as(structure, shapes))
    except Exception:  # Whatever a layer raises.
        return False
    return True


def _with_size(tensor: keras.KerasTensor, size: int) -> tuple[int, ...]:
    """Return the shape of an array for an input, with one size for what is open."""
    return (
        tensor.shape[0] or COUNT,
        *(size if length is None else length for length in tensor.shape[1:]),
    )


def first_batch(model: keras.Model, arrays: Sequence[np.ndarray]) -> Any:
    """Return as many of the first samples as a probe has, in the structure that a model takes.

    Args:
        model: `keras.Model`. It has a graph.
        arrays: Sequence of arrays, one for each of the model's inputs.
    """
    count = _batch_size(model) or COUNT
    first = [_first(array, count) for array in arrays]
    return keras.tree.pack_sequence_as(input_structure(model), first)


def _first(array: np.ndarray, count: int) -> np.ndarray:
    """Return the first rows of an array, repeated if there are too few."""
    return array[np.arange(count) % len(array)] if count > len(array) else array[:count]


def _batch_size(model: keras.Model) -> int | None:
    return model.inputs[0].shape[0] if declares_inputs(model) else None


def input_structure(model: keras.Model) -> Any:
    """Return symbolic tensors in the structure that a model takes, or None if it is not known.

    The structure is a dict for a subclassed model whose `call` takes several arguments.
    """
    if functional.has_graph(model):
        view = functional.functional_view(model) if is_taken_apart(model) else model
        return view.input
    if declares_inputs(model):  # A functional model with a `call` of its own.
        return model.input
    shape = argument_shapes(model) or shapes_at_build(model)[0]
    if shape is None:
        return None
    try:
        return keras.tree.map_shape_structure(
            lambda one: keras.KerasTensor((None, *one[1:])), shape
        )
    except (TypeError, ValueError):
        return None


def _drawn(
    model: keras.Model,
    structure: Any,
    plan: ExecutionPlan | None,
    size: int,
    scale: float,
) -> Any:
    rng = np.random.default_rng(0)
    tensors = keras.tree.flatten(structure)
    slots: Sequence[Slot | None] = [None] * len(tensors) if plan is None else plan.inputs
    arrays = [
        _draw(tensor, _Use.of(model, plan, slot), size, scale, rng)
        for tensor, slot in zip(tensors, slots, strict=True)
    ]
    return keras.tree.pack_sequence_as(structure, arrays)


@dataclass(frozen=True)
class _Use:
    """What a model does with an input.

    Attributes:
        table_size: Integer. Number of entries of the smallest table that it is looked up in; 0 if
            it is not looked up.
        vocabulary: Tuple. What a lookup layer knows; empty if there is none.
        mask_value: Float or None. The value that a Masking layer masks.
    """

    table_size: int
    vocabulary: tuple[Any, ...]
    mask_value: float | None

    @classmethod
    def of(cls, model: keras.Model, plan: ExecutionPlan | None, slot: Slot | None) -> _Use:
        steps = [] if plan is None or slot is None else _steps_before_weights(plan, slot)
        operations = [step.operation for step in steps] if plan is not None else [model]
        layers = [inner for each in operations for inner in (each, *sublayers(each))]
        sizes = [size for layer in layers for size in [_table_size(layer)] if size]
        sizes += [size for step in steps for size in [_taken_from(step)] if size]
        return cls(
            table_size=min(sizes, default=0),
            vocabulary=next((tuple(words) for words in map(_vocabulary, layers) if words), ()),
            mask_value=next(
                (each.mask_value for each in layers if isinstance(each, keras.layers.Masking)), None
            ),
        )


def _steps_before_weights(plan: ExecutionPlan, slot: Slot) -> list[Step]:
    """Return the steps that an input reaches, up to the first with weights on each way."""
    found: dict[int, Step] = {}
    pending = [slot]
    while pending:
        for step in plan.readers(pending.pop()):
            if id(step) not in found:
                found[id(step)] = step
                if not getattr(step.operation, "weights", []):
                    pending.extend(step.outputs)
    return list(found.values())


def _table_size(operation: Any) -> int:
    """Return the number of entries of the table that an operation looks numbers up in, or 0."""
    if isinstance(operation, keras.layers.Embedding):
        return int(operation.input_dim)
    if isinstance(operation, keras.layers.CategoryEncoding):
        return int(operation.num_tokens)
    return int(operation.num_classes) if type(operation).__name__ == "OneHot" else 0


def _taken_from(step: Step) -> int:
    """Return the size of the table of a `keras.ops.take` with constant values, or 0."""
    if type(step.operation).__name__ != "Take" or isinstance(step.args[0], Slot):
        return 0
    axis = getattr(step.operation, "axis", None)
    shape = np.shape(step.args[0])
    return int(np.prod(shape)) if axis is None else int(shape[axis])


def _vocabulary(layer: Any) -> Sequence[Any]:
    if type(layer).__name__ not in _LOOKUPS or not hasattr(layer, "get_vocabulary"):
        return ()
    words = [word for word in layer.get_vocabulary() if word not in ("", -1)]
    return words[:64]


def _draw(
    tensor: keras.KerasTensor, use: _Use, size: int, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw an array for an input."""
    shape = _with_size(tensor, size)
    count = shape[0]
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        words = np.array([str(word) for word in use.vocabulary or ("a", "b")], dtype=object)
        return words[rng.integers(len(words), size=shape)].astype(str)
    if dtype == "bool":
        return _with_zero_tails(np.ones(shape, bool))
    if use.vocabulary and not isinstance(use.vocabulary[0], str):
        numbers = np.array(use.vocabulary)
        return numbers[rng.integers(len(numbers), size=shape)].astype(dtype)
    if use.table_size and len(shape) <= _MOST_AXES_OF_NUMBERS:
        numbers = rng.integers(min(1, use.table_size - 1), use.table_size, size=shape)
        return _with_zero_tails(numbers.astype(dtype))
    if dtype == "uint8":
        return rng.integers(256, size=shape).astype(dtype)
    if not keras.backend.is_float_dtype(dtype):
        return rng.integers(2, size=shape).astype(dtype)
    values = rng.normal(size=shape)
    scales = np.resize([1.0, 1.0, 10.0, 100.0], count).reshape(-1, *[1] * (len(shape) - 1))
    values = np.where(scales == 100.0, np.abs(values), values) * scales * scale
    if use.mask_value is not None and len(shape) > 2:
        tails = _with_zero_tails(np.ones(shape[:2], bool))
        values = np.where(
            tails.reshape(*shape[:2], *[1] * (len(shape) - 2)), values, use.mask_value
        )
    dtype_of_numpy = "float32" if dtype == "bfloat16" else dtype
    return values.astype(dtype_of_numpy)


def _with_zero_tails(array: np.ndarray) -> np.ndarray:
    """Set the ends of the rows to 0, of each row another share, and never the first entry."""
    if array.ndim < 2 or array.shape[1] < 2:
        return array
    for row in range(len(array)):
        tail = row * (array.shape[1] - 1) // max(len(array), 1)
        if tail:
            array[row, -tail:] = 0
    return array
