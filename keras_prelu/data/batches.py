"""Labelled samples as batches for Keras's `fit` and `evaluate`."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import replicas
from keras_prelu.backend.hosts import host, hosts
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.samples import Samples
from keras_prelu.errors import InvalidArgumentError

__all__ = ["Batches"]


class Batches(keras.utils.PyDataset):
    """Batches of samples in their order.

    Samples on disk are read one batch ahead, in a thread. If `keras.distribution` divides batches
    among devices, the remainder of the last batch is dropped, and each of several hosts gets its
    part of every batch.

    Args:
        samples: `Samples` with labels.
        batch_size: Int. Samples in a batch; the last one may be smaller.

    Raises:
        InvalidArgumentError: A ValueError; a batch can't be divided among the devices.
    """

    def __init__(self, samples: Samples, batch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._replicas, self._hosts, self._host = replicas(), hosts(), host()
        if batch_size % self._replicas:
            raise InvalidArgumentError(
                f"`batch_size` must be a multiple of the {self._replicas} devices. Received:"
                f" {batch_size}"
            )
        self._samples = samples
        self._batch_size = batch_size
        self._order = np.arange(len(samples))
        self._reader = ThreadPoolExecutor(1) if samples.on_disk else None
        self._ahead: tuple[int, Future[Any]] | None = None

    def __len__(self) -> int:
        full_batches, remainder = divmod(len(self._samples), self._batch_size)
        return full_batches + (remainder >= self._replicas)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if self._reader is None:
            return self._batch(index)
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == index else self._batch(index)
        if index + 1 < len(self):
            self._ahead = (index + 1, self._reader.submit(self._batch, index + 1))
        return batch

    def _batch(self, index: int) -> tuple[Any, ...]:
        rows = self._rows(index)
        host_rows = len(rows) // self._replicas * self._replicas // self._hosts
        start = host_rows * self._host
        batch = self._samples.take(rows[start : start + host_rows])
        # Keras's data adapter for TensorFlow takes a list for one tensor.
        return keras.tree.lists_to_tuples(keras_arrays(batch.labelled))

    def _rows(self, index: int) -> np.ndarray:
        """Return which samples a batch has."""
        return self._order[index * self._batch_size : (index + 1) * self._batch_size]
