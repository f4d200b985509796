"""Samples of other sizes, where a model leaves sizes open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_prelu.deployment.formats.base import Interface
from keras_prelu.graph.functional import has_graph
from keras_prelu.typing import Array

__all__ = ["has_open_sizes", "inputs_of_other_sizes", "with_sizes"]

_CHANGES: tuple[Callable[[int], int], ...] = (
    lambda size: size + 1,
    lambda size: size + 2,
    lambda size: size + 3,
    lambda size: 2 * size,
)
"""Sizes that are odd where the given one is even, also after a stride of 2; and one that models
which halve and double the size take too."""
_SAMPLES = 2


def has_open_sizes(model: keras.Model) -> bool:
    """Return whether a model with a graph leaves sizes open, besides the number of samples."""
    return has_graph(model) and any(None in tensor.shape[1:] for tensor in model.inputs)


def inputs_of_other_sizes(model: keras.Model, interface: Interface, inputs: Any) -> Iterator[Any]:
    """Yield samples of several sizes in the structure of the given ones, which they repeat.

    Args:
        model: `keras.Model`. Nothing is yielded if it leaves no sizes open.
        interface: `Interface` of the model.
        inputs: Array, or a structure of arrays, as the model takes them.
    """
    for change in _CHANGES if has_open_sizes(model) else ():
        yield with_sizes(model, interface, inputs, change, _SAMPLES)


def with_sizes(
    model: keras.Model,
    interface: Interface,
    inputs: Any,
    change: Callable[[int], int],
    samples: int,
) -> Any:
    """Return the first samples with other sizes where a model leaves them open.

    Args:
        model: `keras.Model` with a graph.
        interface: `Interface` of the model.
        inputs: Array, or a structure of arrays, as the model takes them.
        change: Function from a size to the new one.
        samples: Integer. The number of samples to return.
    """
    by_name = isinstance(inputs, dict) and set(inputs) == set(interface.inputs)
    if by_name and set(inputs) != set(interface.keys):
        shapes = dict(zip(interface.inputs, (each.shape for each in model.inputs), strict=True))
        return {
            name: _resized(array[:samples], shapes[name], change) for name, array in inputs.items()
        }
    flat = [
        _resized(array[:samples], tensor.shape, change)
        for array, tensor in zip(keras.tree.flatten(inputs), model.inputs, strict=True)
    ]
    return keras.tree.pack_sequence_as(inputs, flat)


def _resized(array: Array, shape: tuple[int | None, ...], change: Callable[[int], int]) -> Array:
    """Return an array that is repeated, or cut, along the axes whose size is open."""
    for axis, size in enumerate(shape):
        if axis and size is None:
            rows = np.arange(change(array.shape[axis])) % array.shape[axis]
            array = np.take(array, rows, axis)
    return array
