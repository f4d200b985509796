"""Samples as arrays that fit a model, checked before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.lazy import LazyArray, as_lazy, is_lazy
from keras_prelu.errors import DataError, reason_of

__all__ = ["Samples", "batches", "from_batches", "model_inputs"]

MOST_FROM_BATCHES = 4096
"""How many samples are taken from a source of batches, which may have no end."""


@dataclass(frozen=True)
class Samples:
    """Samples and, where there are any, their labels.

    Attributes:
        x: Array of samples, or a list or dict of arrays for a model with several inputs; the first
            axis counts the samples. What is like an array and on disk (`numpy.memmap`, data sets of
            h5py or zarr) is read batch by batch.
        y: Labels of the same length (or a list or dict of them for several outputs), or None.
    """

    x: Any
    y: Any = None

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.x)[0])

    @property
    def on_disk(self) -> bool:
        """Whether some of the arrays are read when they are needed."""
        return any(is_lazy(array) for array in keras.tree.flatten((self.x, self.y)))

    def take(self, indices: Any) -> Samples:
        """The samples at `indices` (an array of positions or a slice), in that order; those on disk
        are not read yet."""
        return Samples(_take(self.x, indices), None if self.y is None else _take(self.y, indices))


def _take(structure: Any, indices: Any) -> Any:
    return keras.tree.map_structure(
        lambda array: (
            as_lazy(array).take(indices) if is_lazy(array) else np.asarray(array)[indices]
        ),
        structure,
    )


def from_batches(source: Any, limit: int = MOST_FROM_BATCHES) -> Any:
    """Samples gathered from what yields batches of them: a `tf.data.Dataset`, a
    `keras.utils.PyDataset`, a generator.

    Args:
        source: Yields batches x, or (x, y) and (x, y, weights), of which only x is taken, as in
            `fit`; or anything else, which is returned as it is.
        limit: At most so many samples are taken, so that a source without an end is one too.

    Returns:
        An array, or a structure of arrays as in the batches.

    Raises:
        DataError: There is no batch.
    """
    if not isinstance(source, (keras.utils.PyDataset, Iterator)) and not hasattr(
        source, "element_spec"
    ):
        return source
    parts: list[Any] = []
    count = 0
    for batch in (
        (source[index] for index in range(len(source)))
        if isinstance(source, keras.utils.PyDataset)
        else source
    ):
        x = batch[0] if isinstance(batch, tuple) else batch
        parts.append(
            keras.tree.map_structure(
                lambda tensor: np.asarray(keras.ops.convert_to_numpy(tensor)), x
            )
        )
        count += len(keras.tree.flatten(parts[-1])[0])
        if count >= limit:
            break
    if not parts:
        raise DataError("There are no samples: the first batch is the end.")
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[:limit], *parts)


def model_inputs(model: keras.Model, samples: Any, name: str = "samples") -> list[Any]:
    """The arrays of `samples`, one for each input of `model`, in its order.

    Args:
        model: A built model.
        samples: An array; a list of arrays, one for each input; a dict of arrays by input name;
            `Samples`; or what yields batches of these, see `from_batches`.
        name: What to call the samples in messages.

    Raises:
        DataError: The number of inputs, a shape or the number of samples does not fit, or a value
            is NaN or infinite. Samples on disk are looked at when they are read.
    """
    samples = from_batches(samples.x if isinstance(samples, Samples) else samples)
    tensors = list(model.inputs)
    arrays = [_as_array(array, name) for array in _in_order(tensors, samples, name)]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise DataError(
            f"The inputs in the {name} have different numbers of samples: {sorted(lengths)}."
        )
    if lengths == {0}:
        raise DataError(f"There are no samples in the {name}.")
    return [_fit(array, tensor, name) for array, tensor in zip(arrays, tensors, strict=True)]


def batches(arrays: Sequence[Any], size: int) -> Iterator[list[np.ndarray]]:
    """Consecutive batches of the arrays' first axis; the last one may be shorter."""
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


def _in_order(tensors: list[keras.KerasTensor], samples: Any, name: str) -> list[Any]:
    if isinstance(samples, Mapping):
        missing = [tensor.name for tensor in tensors if tensor.name not in samples]
        if missing:
            raise DataError(
                f"The {name} lack the model's input '{missing[0]}'. They have:"
                f" {', '.join(map(repr, samples))}."
            )
        return [samples[tensor.name] for tensor in tensors]
    given = list(samples) if isinstance(samples, (list, tuple)) and len(tensors) > 1 else [samples]
    if len(given) != len(tensors):
        raise DataError(
            f"The model has {len(tensors)} inputs, the {name} have {len(given)}. Give a list or a"
            " dict of arrays."
        )
    return given


def _as_array(array: Any, name: str) -> np.ndarray | LazyArray:
    if is_lazy(array):
        return as_lazy(array).map(lambda rows: _checked(rows, f"{name} of a batch"))
    try:
        result = (
            keras.ops.convert_to_numpy(array) if keras.ops.is_tensor(array) else np.asarray(array)
        )
    except Exception as error:
        raise DataError(
            f"The {name} are not an array: {type(array).__name__} ({reason_of(error)})."
        ) from error
    return _checked(result, name)


def _checked(result: np.ndarray, name: str) -> np.ndarray:
    if result.dtype == object or result.ndim == 0:
        raise DataError(f"The {name} are not an array of numbers: their dtype is {result.dtype}.")
    if np.issubdtype(result.dtype, np.floating) and not np.all(np.isfinite(result)):
        bad = int(np.argwhere(~np.isfinite(result))[0][0])
        raise DataError(
            f"The {name} hold NaN or infinite values; the first is in sample {bad}. Clean them"
            " first."
        )
    return result


def _fit(array: Any, tensor: keras.KerasTensor, name: str) -> Any:
    """The array in the input's dtype, if its shape is what the input takes."""
    expected, received = tuple(tensor.shape), array.shape
    fits = len(expected) == len(received) and all(
        e is None or e == r for e, r in zip(expected[1:], received[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"The {name} have shape {received}, but the model's input '{tensor.name}' takes"
            f" {('batch', *expected[1:])}.".replace("None", "any")
        )
    if tensor.dtype == "string" or array.dtype.kind in "SU":
        return array
    if not keras.backend.is_float_dtype(tensor.dtype):
        return array
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return (
        array.map(lambda rows: rows.astype(dtype))
        if isinstance(array, LazyArray)
        else array.astype(dtype)
    )
