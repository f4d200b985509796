"""Arrays whose rows are read when they are needed: data sets larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError, reason_of

__all__ = ["LazyArray", "as_lazy", "is_lazy", "loaded"]

Reader = Callable[[np.ndarray], np.ndarray]


class LazyArray:
    """Samples on the first axis, read when indexed.

    Args:
        read: Returns the rows at an ascending array of positions, each at most once.
        shape: Of the whole.
        dtype: Of what `read` returns.
        rows: The positions that this array consists of, in its order; all by default.

    Attributes:
        shape, dtype, ndim: As of a NumPy array.
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
        """The rows at a slice or an array of positions, read now."""
        positions, inverse = np.unique(self._rows[key], return_inverse=True)
        return self._read(positions)[inverse]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def take(self, key: Any) -> LazyArray:
        """The rows at a slice or an array of positions, not read yet."""
        return LazyArray(self._read, self.shape, self.dtype, self._rows[key])

    def map(self, function: Callable[[np.ndarray], Any]) -> LazyArray:
        """What a function makes of the rows, batch by batch. It is called with the first row at
        once, to learn the shape."""
        first = np.asarray(function(self[:1]))
        if first.ndim == 0 or len(first) != 1:
            raise DataError(
                f"A function of one sample must return one, not an array of shape {first.shape}."
            )
        shape = (len(self), *first.shape[1:])
        return LazyArray(lambda rows: np.asarray(function(self[rows])), shape, first.dtype)


def is_lazy(array: Any) -> bool:
    """Whether this is no array in memory but something like one: a `LazyArray`, a `numpy.memmap`, a
    data set of h5py or zarr."""
    if isinstance(array, (LazyArray, np.memmap)):
        return True
    if isinstance(array, np.ndarray) or keras.ops.is_tensor(array):
        return False
    return all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__", "__len__"))


def as_lazy(array: Any) -> LazyArray:
    """What `is_lazy` recognizes, as a `LazyArray`."""
    if isinstance(array, LazyArray):
        return array

    def read(rows: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(array[rows])
        except Exception as error:  # whatever the user's object raises
            raise DataError(
                f"Samples can't be read from {type(array).__name__}: {reason_of(error)}."
            ) from error

    return LazyArray(read, tuple(array.shape), array.dtype)


def loaded(structure: Any) -> Any:
    """A structure of arrays with those that are lazy read into memory."""
    return keras.tree.map_structure(
        lambda array: np.asarray(as_lazy(array)) if is_lazy(array) else array, structure
    )
