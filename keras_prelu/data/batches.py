"""Labelled samples as the batches that Keras's `fit` and `evaluate` take."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_prelu.data.lazy import loaded
from keras_prelu.data.samples import Samples

__all__ = ["Batches"]


class Batches(keras.utils.PyDataset):
    """The samples in their order. Those on disk are read one batch ahead, in a thread.

    Args:
        samples: Labelled samples.
        batch_size: Samples in a batch; the last one may be smaller.
    """

    def __init__(self, samples: Samples, batch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._samples = samples
        self._batch_size = batch_size
        self._order = np.arange(len(samples))
        self._reader = ThreadPoolExecutor(1) if samples.on_disk else None
        self._ahead: tuple[int, Future[Any]] | None = None

    def __len__(self) -> int:
        return -(-len(self._samples) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self._reader is None:
            return self._batch(index)
        ahead, self._ahead = self._ahead, None
        batch = ahead[1].result() if ahead is not None and ahead[0] == index else self._batch(index)
        if index + 1 < len(self):
            self._ahead = (index + 1, self._reader.submit(self._batch, index + 1))
        return batch

    def _batch(self, index: int) -> tuple[Any, Any]:
        chosen = self._samples.take(self._order[index * self._batch_size : (index + 1) * self._batch_size])
        return loaded(chosen.x), loaded(chosen.y)
