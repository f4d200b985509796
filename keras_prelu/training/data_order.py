"""Batches of samples in an order that depends on a seed alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import Samples

__all__ = ["FollowEpochs", "ShuffledBatches"]


class ShuffledBatches(Batches):
    """The samples in a new random order each epoch, which depends on the seed and the epoch alone:
    the same for every model and backend, and for a training that goes on after it was stopped.

    `model.fit(x, y, shuffle=True)` draws from the backend's generator, whose state depends on what
    else the model draws, so two models would see different orders.

    Args:
        samples: Labelled samples.
        batch_size: Samples in a batch; the last one may be smaller.
        seed: Of the order.
        limit: At most so many batches make an epoch; None for all.
    """

    def __init__(
        self, samples: Samples, batch_size: int, seed: int, limit: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(samples, batch_size, **kwargs)
        self._limit = limit
        self._seed = seed
        self.begin(0)

    def __len__(self) -> int:
        return super().__len__() if self._limit is None else min(super().__len__(), self._limit)

    def begin(self, epoch: int) -> None:
        """Take the order of an epoch."""
        self._ahead = None
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._samples))


class FollowEpochs(keras.callbacks.Callback):
    """Tells `ShuffledBatches` which epoch begins: a data set itself isn't told."""

    def __init__(self, data: ShuffledBatches) -> None:
        super().__init__()
        self._data = data

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._data.begin(epoch)
