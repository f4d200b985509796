"""Arrays whose rows are read only when they are needed, for data sets larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError, reason_of

__all__ = ["LazyArray", "as_lazy", "is_lazy", "loaded", "native"]

Reader = Callable[[np.ndarray], np.ndarray]


class LazyArray:
    """An array whose first axis counts samples, which are read when they are indexed.

    Args:
        read: Function that returns the rows at given positions: an ascending array without
            repetitions.
        shape: Tuple. Shape of all rows that can be read, together.
        dtype: Dtype of the arrays that `read` returns.
        rows: Array of the positions that this array consists of, in its order. Defaults to all.

    Attributes:
        shape: Tuple, as of a NumPy array.
        dtype: NumPy dtype.
        ndim: Int.
    """

    def __init__(
        self, read: Reader, shape: tuple[int, ...], dtype: Any, rows: np.ndarray | None = None
    ) -> None:
        self._read = read
        self._rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *shape[1:])
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read the rows at a slice or an array of positions."""
        positions, inverse = np.unique(self._rows[key], return_inverse=True)
        return self._read(positions)[inverse]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self[:]
        if dtype is None and self.dtype.kind in "SU":
            return values  # The dtype of the first row, for which text was looked at, may be short.
        if not np.can_cast(values.dtype, self.dtype, "same_kind"):
            raise DataError(
                f"The first row on disk is {self.dtype.name}, but others are {values.dtype.name}."
            )
        return values.astype(self.dtype if dtype is None else dtype, copy=False)

    def take(self, key: Any) -> LazyArray:
        """Return the rows at a slice or an array of positions, without reading them."""
        return LazyArray(self._read, self.shape, self.dtype, self._rows[key])

    def map(self, function: Callable[[np.ndarray], Any]) -> LazyArray:
        """Return the array of a function's results, computed whenever rows are read.

        The function is called with the first row at once, to learn the shape of its result.
        """
        first = np.asarray(function(self[:1]))
        if first.ndim == 0 or len(first) != 1:
            raise DataError(
                f"A function of one sample must return one, not an array of shape {first.shape}."
            )
        shape = (len(self), *first.shape[1:])
        return LazyArray(lambda rows: np.asarray(function(self[rows])), shape, first.dtype)


def is_lazy(array: Any) -> bool:
    """Return whether an array is on disk.

    Such an array is a `LazyArray`, a `numpy.memmap`, or a data set of h5py or zarr.
    """
    if isinstance(array, (LazyArray, np.memmap)):
        return True
    if isinstance(array, np.ndarray) or keras.ops.is_tensor(array):
        return False
    return all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__", "__len__"))


def as_lazy(array: Any) -> LazyArray:
    """Return as a `LazyArray` an array that `is_lazy` recognizes."""
    if isinstance(array, LazyArray):
        return array

    def read(rows: np.ndarray) -> np.ndarray:
        try:
            return native(np.asarray(array[rows]))
        except Exception as error:  # The user's object may raise anything.
            raise DataError(
                f"Samples can't be read from {type(array).__name__}: {reason_of(error)}."
            ) from error

    return LazyArray(read, tuple(array.shape), np.dtype(array.dtype).newbyteorder("="))


def native(array: np.ndarray) -> np.ndarray:
    """Return an array in the byte order of this machine, which some backends need."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def loaded(structure: Any) -> Any:
    """Return a structure of arrays after reading those on disk into memory."""
    return keras.tree.map_structure(
        lambda array: np.asarray(as_lazy(array)) if is_lazy(array) else array, structure
    )
