"""Data sets of TensorFlow Datasets with random access, of which only the needed rows are read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from keras_prelu.data.lazy import LazyArray
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["random_access_samples"]

_ROWS_A_TASK = 16
_ROWS_AT_ONCE = 1024


def random_access_samples(
    source: Sequence[dict[str, Any]], keys: tuple[str, str], name: str, *, as_stored: bool
) -> Samples:
    """Return the samples and labels of a source of rows, which are read when they are needed.

    Text is read at once. Rows are decoded in threads. Whoever takes them says which rows a batch
    has, so that an order that is drawn from a seed is global and the same for every training.

    Args:
        source: Sequence of dicts, such as `tfds.data_source` returns.
        keys: Pair of str. The keys of x and y in a row.
        name: Str. Name of the data set in messages.
        as_stored: Bool. Whether integer images keep their values; otherwise they are divided by
            255.
    """
    rows = _Rows(source, keys, name)
    first = [np.asarray(part) for part in rows.read(np.zeros(1, dtype=int))]
    x, y = (
        # Strings of one row do not tell the size of all.
        rows.column(part)
        if array.dtype.kind in "SUO"
        else LazyArray(
            lambda positions, part=part: rows.read(positions)[part],  # type: ignore[misc]
            (len(source), *array.shape[1:]),
            array.dtype,
        )
        for part, array in enumerate(first)
    )
    if isinstance(x, LazyArray) and x.dtype == np.uint8 and not as_stored:
        x = x.map(lambda pixels: pixels.astype("float32") / np.float32(255.0))
    return Samples(x, y)


class _Rows:
    """Reader of rows that keeps the last ones: x and y of a batch are asked for one by one."""

    def __init__(self, source: Any, keys: tuple[str, str], name: str) -> None:
        self._source, self._keys, self._name = source, keys, name
        self._lock = threading.Lock()
        self._positions: np.ndarray = np.empty(0, dtype=int)
        self._last: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    def read(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y at positions."""
        with self._lock:
            if not np.array_equal(positions, self._positions):
                self._last = self._decoded(positions)
                self._positions = positions
            return self._last

    def column(self, part: int) -> np.ndarray:
        """Return all values of x (0) or y (1), without keeping those of the other."""
        count = len(self._source)
        return np.concatenate(
            [
                self._decoded(np.arange(start, min(start + _ROWS_AT_ONCE, count)))[part]
                for start in range(0, count, _ROWS_AT_ONCE)
            ]
        )

    def _decoded(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tasks = np.array_split(positions, max(1, len(positions) // _ROWS_A_TASK))
        try:
            with ThreadPoolExecutor() as pool:  # Reading and decoding release the GIL.
                read = [row for part in pool.map(self._task, tasks) for row in part]
            x, y = (np.stack([row[key] for row in read]) for key in self._keys)
        except Exception as error:  # A shard may be gone, and images have several sizes.
            raise DataError(f"Rows of '{self._name}' can't be read: {reason_of(error)}.") from error
        return x, y

    def _task(self, positions: np.ndarray) -> Sequence[dict[str, Any]]:
        rows: Sequence[dict[str, Any]] = self._source.__getitems__(positions.tolist())
        return rows
