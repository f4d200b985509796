"""Single arrays of samples: checked, and brought into the shape and type of a model's input."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_prelu.data.lazy import LazyArray, as_lazy, is_lazy, loaded, native
from keras_prelu.data.model_inputs import ModelInput
from keras_prelu.errors import DataError, reason_of

__all__ = [
    "are_numbers",
    "as_array",
    "check_dense",
    "check_finite",
    "converted",
    "fitted",
    "keras_arrays",
]

_TEXT = "SU"
_NOT_NUMBERS = "OMmcV"
_LARGEST_FLOAT = 8


def as_array(array: Any, role: str) -> np.ndarray | LazyArray:
    """Return an array, tensor or nested list as an array that was scanned for NaN.

    Args:
        array: Array-like. An array on disk is not read.
        role: Str. Name of the samples in messages.

    Raises:
        DataError: It is not an array of finite numbers or of text.
    """
    if is_lazy(array) and not _is_sparse(array):
        return as_lazy(array)
    check_dense(array, role)
    try:
        values = (
            keras.ops.convert_to_numpy(array) if keras.ops.is_tensor(array) else np.asarray(array)
        )
    except Exception as error:
        raise DataError(
            f"The {role} are not an array: {type(array).__name__} ({reason_of(error)})."
        ) from error
    return check_finite(native(_text_as_strings(values)), role)


def check_dense(array: Any, role: str) -> None:
    """Raise a DataError for an array of which NumPy would take a part for the whole."""
    if _is_sparse(array):
        raise DataError(f"The {role} are a sparse array of SciPy. Give array.toarray().")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise DataError(
            f"The {role} are a masked array, and masked values are no numbers. Fill them:"
            " array.filled(value)."
        )


def _is_sparse(array: Any) -> bool:
    return type(array).__module__.startswith("scipy.sparse")


def check_finite(array: np.ndarray, role: str) -> np.ndarray:
    """Return an array after one scan for NaN and infinite values.

    Raises:
        DataError: The array holds such values, no numbers, or numbers of more than 64 bits.
    """
    if array.dtype.kind in _NOT_NUMBERS or array.ndim == 0:
        raise DataError(f"The {role} are not an array of numbers: their dtype is {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize > _LARGEST_FLOAT:
        raise DataError(
            f"The {role} are {array.dtype.name}, a number type that Keras does not take. Convert"
            " them to float32."
        )
    if np.issubdtype(array.dtype, np.floating) and not np.all(np.isfinite(array)):
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DataError(
            f"The {role} hold NaN or infinite values; the first is in sample {first}. Clean them"
            " first."
        )
    return array


def fitted(array: Any, model_input: ModelInput, role: str) -> Any:
    """Return an array in the shape of a model's input.

    A last axis of size 1 is added or removed, as Keras does.

    Args:
        array: NumPy array or `LazyArray`.
        model_input: `ModelInput`.
        role: Str. Name of the samples in messages.

    Raises:
        DataError: The array has another shape, or text is where numbers are needed.
    """
    if not hasattr(array, "shape"):  # A list of rows.
        array = as_array(array, role)
    _check_kind(array, model_input, role)
    expected, received = model_input.shape, tuple(array.shape)
    if len(received) == len(expected) + 1 and received[-1] == 1:
        array = _reshaped(array, lambda rows: rows[..., 0])
    elif len(received) == len(expected) - 1 and expected[-1] == 1:
        array = _reshaped(array, lambda rows: rows[..., None])
    shape = tuple(array.shape)
    fits = len(expected) == len(shape) and all(
        size in (None, length) for size, length in zip(expected[1:], shape[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"The {role} have shape {received}, but the model's input '{model_input.name}' takes"
            f" {('batch', *expected[1:])}.".replace("None", "any")
        )
    return array


def converted(array: Any, model_input: ModelInput, role: str) -> Any:
    """Return an array in its input's dtype; an array on disk is checked whenever it is read."""
    if isinstance(array, LazyArray):
        array = array.map(lambda rows: check_finite(rows, f"{role} of a batch"))
    if array.dtype.kind in _TEXT or not keras.backend.is_float_dtype(model_input.dtype):
        return array
    dtype = keras.backend.standardize_dtype(model_input.dtype)
    if isinstance(array, LazyArray):
        return array.map(lambda rows: rows.astype(dtype))
    return array.astype(dtype, copy=False)


def keras_arrays(structure: Any) -> Any:
    """Return arrays in memory as `fit`, `evaluate` and a model take them.

    Text must be in tensors, and then all of the structure, since Keras mixes tensors and arrays in
    no call.
    """
    arrays = loaded(structure)
    has_text = any(
        isinstance(array, np.ndarray) and array.dtype.kind in _TEXT
        for array in keras.tree.flatten(arrays)
    )
    if not has_text:
        return arrays
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)


def _text_as_strings(values: np.ndarray) -> np.ndarray:
    """Return an array of Python strings as an array of NumPy's, and any other array unchanged."""
    if values.dtype.kind == "T":
        return values.astype(str)
    if values.dtype != object or not values.size:
        return values
    if all(isinstance(value, str) for value in values.flat):
        return values.astype(str)
    if all(isinstance(value, bytes) for value in values.flat):
        return values.astype(bytes)
    return values


def _check_kind(array: Any, model_input: ModelInput, role: str) -> None:
    """Raise a DataError for text where a model takes numbers, and the other way around."""
    is_text, takes_text = array.dtype.kind in _TEXT, model_input.dtype == "string"
    if is_text and not takes_text:
        raise DataError(
            f"The {role} are text{_first_text(array)}, but the model's input '{model_input.name}'"
            f" takes {model_input.dtype}."
        )
    if is_text and keras.backend.backend() != "tensorflow":
        raise DataError(
            f"The {role} are text, which Keras reads on TensorFlow alone. Run with"
            " KERAS_BACKEND=tensorflow, or turn the text into numbers first."
        )
    if takes_text and not is_text:
        raise DataError(
            f"The {role} are numbers, but the model's input '{model_input.name}' takes text."
        )


def _first_text(array: Any) -> str:
    """Return where text stands among numbers, such as a word for a missing value."""
    if is_lazy(array) or array.ndim == 0:
        return ""
    numbers = are_numbers(array.reshape(-1))
    if not numbers.any() or numbers.all():
        return ""
    first = int(np.flatnonzero(~numbers)[0])
    row = first // max(1, array.size // len(array))
    return f", such as {str(array.reshape(-1)[first])!r} in sample {row}"


def are_numbers(texts: np.ndarray) -> np.ndarray:
    """Return for each text of an array of one axis whether it is a finite number."""

    def is_number(text: Any) -> bool:
        try:
            return math.isfinite(float(text))
        except ValueError:
            return False

    return np.fromiter(map(is_number, texts), bool, len(texts))


def _reshaped(array: Any, function: Any) -> Any:
    return array.map(function) if isinstance(array, LazyArray) else function(array)
