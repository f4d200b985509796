"""Epochs of a given number of batches from a source that Keras would not divide into such."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_prelu.backend.devices import replicas, tensorflow_replicas
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.streams import batch_count, batches_of, parts_of

__all__ = ["StreamBatches"]

_REMEMBERED = 4
"""The number of batches that are kept, since Keras reads the first ones twice."""


class StreamBatches(keras.utils.PyDataset):
    """Epochs of so many batches from a source that can be read again, such as an endless one.

    An epoch goes on where the one before it stopped, as in `fit(steps_per_epoch=...)`; after its
    last batch the source is read anew. Which batches an epoch has depends on its number alone, so
    that each of several trainings, and one that continues from a checkpoint, gets the same. (A
    source that shuffles by itself must do so by a seed of its own.)

    Args:
        source: Source of batches (x, y) or (x, y, weights); no iterator.
        steps: Int. Number of batches in an epoch.
        repeats: Bool. Whether each reading of the source is known to yield the same batches, so
            that those of earlier readings need not be read to continue. Defaults to False.
    """

    def __init__(self, source: Any, steps: int, *, repeats: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source, self._steps = source, steps
        count = batch_count(source) if repeats else None
        self._count = None if count is None or math.isinf(count) else int(count)
        self.restart()

    def restart(self) -> None:
        """Go back to the first batch, for another training."""
        self._first = self._passed_over = 0
        self._recent: dict[int, Any] = {}
        self._next = 0
        self._batches: Iterator[Any] | None = None

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> Any:
        if index < self._passed_over:
            few = max(replicas(), tensorflow_replicas())
            batch = self[self._passed_over]
            return keras.tree.map_structure(lambda array: array[:few], batch)
        position = self._first + index
        if position not in self._recent:
            if self._batches is None or position < self._next or self._is_in_later_pass(position):
                self._batches, self._next = self._from(position), position
            # Batches between, of epochs that a stored training has behind it, are read and dropped.
            batch = next(itertools.islice(self._batches, position - self._next, None))
            self._next = position + 1
            self._recent[position] = self._as_tuple(batch)
            for old in [key for key in self._recent if key <= position - _REMEMBERED]:
                del self._recent[old]
        return self._recent[position]

    def begin(self, epoch: int) -> None:
        """Set the number of the epoch."""
        self._first = epoch * self._steps
        self._passed_over = 0

    def pass_over(self, batches: int) -> None:
        """Give few rows for the first batches of the epoch, on which nothing is trained."""
        self._passed_over = batches

    def _is_in_later_pass(self, position: int) -> bool:
        """Return whether a batch is of a later reading than the one that goes on."""
        return self._count is not None and position // self._count > self._next // self._count

    def _from(self, position: int) -> Iterator[Any]:
        """Yield the batches from a position on, over and over."""
        if isinstance(self.source, keras.utils.PyDataset):
            count = batch_count(self.source)
            indices = itertools.count(position)
            is_endless = count is None or math.isinf(count)
            yield from (
                self.source[index if is_endless else index % int(count or 1)] for index in indices
            )
        position = position if self._count is None else position % self._count
        passed = 0
        while True:
            for batch in batches_of(self.source):
                if passed >= position:
                    yield batch
                passed += 1

    def _as_tuple(self, batch: Any) -> Any:
        x, y, weights = parts_of(batch, self.source)
        parts = (x, y) if weights is None else (x, y, weights)
        return keras.tree.lists_to_tuples(keras_arrays(parts))
