"""Samples as arrays that fit a model, checked before anything is computed with them.

`as_samples` is the only entry point: a public function that takes samples calls it once and passes
on its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import keras
import numpy as np

from keras_prelu.data.lazy import LazyArray, as_lazy, is_lazy, loaded
from keras_prelu.errors import DataError, reason_of

__all__ = ["CheckedSamples", "Samples", "as_samples", "batches", "model_inputs"]

MOST_FROM_BATCHES = 4096
"""The largest number of samples taken from a source of batches, which may be endless."""

Labels = Literal["required", "optional", "ignored"]


@dataclass(frozen=True)
class Samples:
    """Samples and, if there are any, their labels.

    Attributes:
        x: Array of samples, or a list or dict of arrays for a model with several inputs; the first
            axis counts the samples. Arrays on disk (`numpy.memmap`, data sets of h5py or zarr) are
            read batch by batch.
        y: Labels of the same length (or a list or dict of them for several outputs), or None.
    """

    x: Any
    y: Any = None

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.x)[0])

    @property
    def on_disk(self) -> bool:
        """Whether some of the arrays are read only when they are needed."""
        return any(is_lazy(array) for array in keras.tree.flatten((self.x, self.y)))

    def take(self, indices: Any) -> Self:
        """Return the samples at `indices` (an array of positions or a slice), in that order.

        Arrays on disk are not read yet.
        """
        return type(self)(
            _take(self.x, indices), None if self.y is None else _take(self.y, indices)
        )


class CheckedSamples(Samples):
    """Samples that `as_samples` has checked: their arrays in memory hold numbers, all finite."""

    def in_memory(self, role: str = "samples") -> CheckedSamples:
        """Return these samples with the arrays on disk read into memory and checked."""
        if not self.on_disk:
            return self
        x = keras.tree.map_structure(
            lambda array: check_finite(loaded(array), role) if is_lazy(array) else array, self.x
        )
        return CheckedSamples(x, loaded(self.y))


def as_samples(
    data: Any,
    *,
    model: keras.Model | None = None,
    role: str = "samples",
    labels: Labels = "optional",
) -> CheckedSamples:
    """Return `data` as checked samples, without scanning checked samples again.

    Args:
        data: `Samples`; a pair (x, y), unless `labels` is "ignored"; x alone, unless `labels` is
            "required": an array, a list of arrays, or a dict of arrays by input name; or an
            iterable of batches of x, see `gather_batches`.
        model: Built Keras model whose inputs the samples must fit, or None. Defaults to None.
        role: Str. Name of the samples in messages. Defaults to "samples".
        labels: Str. Whether labels are "required", "optional", or "ignored" (dropped; a tuple is
            then a list of inputs). Defaults to "optional".

    Returns:
        The samples, with arrays in the structure of `data`.

    Raises:
        DataError: Labels are missing, lengths differ, an array does not fit the model, holds no
            numbers, or holds NaN or infinite values. Arrays on disk are checked when they are read.
    """
    samples = _coerced(data, role, labels)
    if not isinstance(samples, CheckedSamples):
        samples = _checked(samples, model, role)
    if model is not None:
        _inputs(model, samples, role)
    return samples


def model_inputs(model: keras.Model, samples: Any, role: str = "samples") -> list[Any]:
    """Return the arrays of `samples` in the order and dtype of a model's inputs.

    Args:
        model: Keras model. It is built.
        samples: Samples as in `as_samples` with ignored labels. Values of `CheckedSamples` are not
            scanned again.
        role: Str. Name of the samples in messages. Defaults to "samples".

    Raises:
        DataError: As in `as_samples`.
    """
    samples = _coerced(samples, role, "ignored")
    if not isinstance(samples, CheckedSamples):
        samples = _checked(samples, model, role)
    return [
        _converted(array, tensor, role)
        for array, tensor in zip(_inputs(model, samples, role), model.inputs, strict=True)
    ]


def batches(arrays: Sequence[Any], size: int) -> Iterator[list[np.ndarray]]:
    """Iterate over consecutive batches of the arrays' first axis; the last one may be shorter."""
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


def gather_batches(source: Any, limit: int = MOST_FROM_BATCHES) -> Any:
    """Gather samples from a source of batches.

    Args:
        source: `tf.data.Dataset`, `keras.utils.PyDataset` or generator that yields batches: x, or
            (x, y) or (x, y, weights) as in `fit`, of which only x is used. Anything else is
            returned unchanged.
        limit: Int. Largest number of samples, so that a source may be endless.

    Returns:
        An array, or a structure of arrays as in the batches.

    Raises:
        DataError: There is no batch.
    """
    if not _yields_batches(source):
        return source
    is_indexed = isinstance(source, keras.utils.PyDataset)
    parts: list[Any] = []
    count = 0
    for batch in (source[index] for index in range(len(source))) if is_indexed else source:
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
        raise DataError("There are no samples: the source of batches is empty.")
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[:limit], *parts)


def check_finite(array: np.ndarray, role: str) -> np.ndarray:
    """Return an array after one scan for NaN and infinite values.

    Raises:
        DataError: The array holds such values, or no numbers.
    """
    if array.dtype == object or array.ndim == 0:
        raise DataError(f"The {role} are not an array of numbers: their dtype is {array.dtype}.")
    if np.issubdtype(array.dtype, np.floating) and not np.all(np.isfinite(array)):
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(
            f"The {role} hold NaN or infinite values; the first is in sample {first}. Clean them"
            " first."
        )
    return array


def _take(structure: Any, indices: Any) -> Any:
    return keras.tree.map_structure(
        lambda array: (
            as_lazy(array).take(indices) if is_lazy(array) else np.asarray(array)[indices]
        ),
        structure,
    )


def _yields_batches(source: Any) -> bool:
    return isinstance(source, (keras.utils.PyDataset, Iterator)) or hasattr(source, "element_spec")


def _coerced(data: Any, role: str, labels: Labels) -> Samples:
    """Return `data` as samples with unchanged arrays."""
    if isinstance(data, Samples):
        samples = data
    elif labels != "ignored" and isinstance(data, tuple) and len(data) == 2:
        samples = Samples(*data)
    else:
        samples = Samples(data)
    if labels == "required" and samples.y is None:
        raise DataError(
            f"The {role} must be a pair (x, y) or keras_prelu.data.Samples with labels. Received:"
            f" {type(data).__name__}"
        )
    if labels == "ignored" and samples.y is not None:
        return type(samples)(samples.x)
    return samples


def _checked(samples: Samples, model: keras.Model | None, role: str) -> CheckedSamples:
    """Convert the arrays, scan those in memory, and compare their lengths."""
    x = gather_batches(samples.x)
    if model is not None:
        _in_order(list(model.inputs), x, role)
    x = _map_arrays(lambda array: _as_array(array, role), x, model)
    lengths = {len(array) for array in keras.tree.flatten(x)}
    if len(lengths) > 1:
        raise DataError(
            f"The inputs in the {role} have different numbers of samples: {sorted(lengths)}."
        )
    if lengths in (set(), {0}):
        raise DataError(f"There are no samples in the {role}.")
    y = None if samples.y is None else _labels(samples.y, lengths.pop(), role)
    return CheckedSamples(x, y)


def _map_arrays(function: Callable[[Any], Any], x: Any, model: keras.Model | None) -> Any:
    """Apply a function to the arrays of x, in their structure; in a dict, to the model's inputs."""
    if isinstance(x, Mapping):
        names = x if model is None else [tensor.name for tensor in model.inputs]
        return {name: function(x[name]) for name in names}
    is_structure = len(model.inputs) > 1 if model is not None else not _is_plain(x)
    if is_structure and isinstance(x, tuple):
        return tuple(function(array) for array in x)
    if is_structure and isinstance(x, list):
        return [function(array) for array in x]
    return function(x)


def _is_plain(values: Any) -> bool:
    """Return whether a list, nested or not, holds only scalars, so that it stands for one array."""
    return all(np.ndim(value) == 0 for value in keras.tree.flatten(values))


def _as_array(array: Any, role: str) -> np.ndarray | LazyArray:
    if is_lazy(array):
        return as_lazy(array)
    try:
        values = (
            keras.ops.convert_to_numpy(array) if keras.ops.is_tensor(array) else np.asarray(array)
        )
    except Exception as error:
        raise DataError(
            f"The {role} are not an array: {type(array).__name__} ({reason_of(error)})."
        ) from error
    return check_finite(values, role)


def _labels(y: Any, count: int, role: str) -> Any:
    """Return the labels, a list of numbers or strings as an array."""
    y = np.asarray(y) if isinstance(y, (list, tuple)) and _is_plain(y) else y
    for array in keras.tree.flatten(y):
        if len(array) != count:
            raise DataError(f"The {role} are {count}, their labels {len(array)}.")
    return y


def _inputs(model: keras.Model, samples: Samples, role: str) -> list[Any]:
    """Return the arrays in the order of the model's inputs, after comparing their shapes."""
    arrays = [
        array if hasattr(array, "shape") else np.asarray(array)
        for array in _in_order(list(model.inputs), samples.x, role)
    ]
    for array, tensor in zip(arrays, model.inputs, strict=True):
        _check_shape(array, tensor, role)
    return arrays


def _in_order(tensors: list[keras.KerasTensor], x: Any, role: str) -> list[Any]:
    if isinstance(x, Mapping):
        missing = [tensor.name for tensor in tensors if tensor.name not in x]
        if missing:
            raise DataError(
                f"The {role} lack the model's input '{missing[0]}'. They have:"
                f" {', '.join(map(repr, x))}."
            )
        return [x[tensor.name] for tensor in tensors]
    arrays = list(x) if isinstance(x, (list, tuple)) and len(tensors) > 1 else [x]
    if len(arrays) != len(tensors):
        raise DataError(
            f"The model has {len(tensors)} inputs, the {role} have {len(arrays)}. Give a list or a"
            " dict of arrays."
        )
    return arrays


def _check_shape(array: Any, tensor: keras.KerasTensor, role: str) -> None:
    expected, received = tuple(tensor.shape), tuple(array.shape)
    fits = len(expected) == len(received) and all(
        size in (None, length) for size, length in zip(expected[1:], received[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"The {role} have shape {received}, but the model's input '{tensor.name}' takes"
            f" {('batch', *expected[1:])}.".replace("None", "any")
        )


def _converted(array: Any, tensor: keras.KerasTensor, role: str) -> Any:
    """Return an array in its input's dtype; an array on disk is checked whenever it is read."""
    if isinstance(array, LazyArray):
        array = array.map(lambda rows: check_finite(rows, f"{role} of a batch"))
    is_text = tensor.dtype == "string" or array.dtype.kind in "SU"
    if is_text or not keras.backend.is_float_dtype(tensor.dtype):
        return array
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if isinstance(array, LazyArray):
        return array.map(lambda rows: rows.astype(dtype))
    return array.astype(dtype)
