"""Data sets with random access, of which only the needed rows are read."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from keras_prelu.data.lazy import LazyArray
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["RowReader", "random_access_samples"]

_ROWS_AT_ONCE = 1024

RowReader = Callable[[list[int]], tuple[np.ndarray, np.ndarray]]
"""Function from the positions of rows to arrays of their x and y."""


def random_access_samples(
    read_rows: RowReader, count: int, name: str, *, as_stored: bool
) -> Samples:
    """Return the samples and labels of a data set, whose rows are read when they are needed.

    Text is read at once. Whoever takes samples says which rows a batch has, so that an order that
    is drawn from a seed is global and the same for every training.

    Args:
        read_rows: Function as `RowReader`.
        count: Int. The number of rows.
        name: Str. Name of the data set in messages.
        as_stored: Bool. Whether integer images keep their values; otherwise they are divided by
            255.
    """
    rows = _Rows(read_rows, count, name)
    first = [np.asarray(part) for part in rows.read(np.zeros(1, dtype=int))]
    x, y = (
        # Strings of one row do not tell the size of all.
        rows.column(part)
        if array.dtype.kind in "SUO"
        else LazyArray(
            lambda positions, part=part: rows.read(positions)[part],  # type: ignore[misc]
            (count, *array.shape[1:]),
            array.dtype,
        )
        for part, array in enumerate(first)
    )
    if isinstance(x, LazyArray) and x.dtype == np.uint8 and not as_stored:
        x = x.map(lambda pixels: pixels.astype("float32") / np.float32(255.0))
    return Samples(x, y)


class _Rows:
    """Reader of rows that keeps the last ones: x and y of a batch are asked for one by one."""

    def __init__(self, read_rows: RowReader, count: int, name: str) -> None:
        self._read_rows, self._count, self._name = read_rows, count, name
        self._lock = threading.Lock()
        self._positions: np.ndarray = np.empty(0, dtype=int)
        self._last: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y at positions."""
        with self._lock:
            if not np.array_equal(positions, self._positions):
                self._last = self._checked(positions)
                self._positions = positions
            return self._last

    def column(self, part: int) -> np.ndarray:
        """Return all values of x (0) or y (1), without keeping those of the other."""
        return np.concatenate(
            [
                self._checked(np.arange(start, min(start + _ROWS_AT_ONCE, self._count)))[part]
                for start in range(0, self._count, _ROWS_AT_ONCE)
            ]
        )

    def _checked(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._read_rows(positions.tolist())
        except Exception as error:  # A shard may be gone, and images have several sizes.
            raise DataError(f"Rows of '{self._name}' can't be read: {reason_of(error)}.") from error
