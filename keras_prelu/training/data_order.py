"""Batches of samples in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import Samples
from keras_prelu.training.augmentation import Augmentation
from keras_prelu.training.stream_batches import StreamBatches

__all__ = ["FollowEpochs", "ShuffledBatches"]


class ShuffledBatches(Batches):
    """Batches of samples in a new random order each epoch.

    The order depends on the seed and the epoch alone: it is the same for every model and backend,
    and for a training that continues from a checkpoint. `model.fit(x, y, shuffle=True)` draws from
    the backend's generator, whose state depends on the model's other random draws, so two models
    would see different orders.

    Args:
        samples: `Samples` with labels.
        batch_size: Int. Samples in a batch; the last one may be smaller.
        seed: Int. Seed of the order.
        limit: Int. Largest number of batches in an epoch. Defaults to None: all.
        augmentation: `Augmentation` of the batches. Defaults to None.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        seed: int,
        limit: int | None = None,
        augmentation: Augmentation | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(samples, batch_size, **kwargs)
        self._limit = limit
        self._seed = seed
        self._augmentation = augmentation
        self.begin(0)

    def __len__(self) -> int:
        return super().__len__() if self._limit is None else min(super().__len__(), self._limit)

    def begin(self, epoch: int) -> None:
        """Set the order of an epoch."""
        self._ahead = None
        self._epoch = epoch
        self._passed_over = 0
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._samples))

    def pass_over(self, batches: int) -> None:
        """Give few rows for the first batches of the epoch, on which nothing is trained."""
        self._passed_over = batches

    def _rows(self, index: int) -> np.ndarray:
        if index < self._passed_over:
            return super()._rows(self._passed_over)[: self._replicas]
        return super()._rows(index)

    def _batch(self, index: int) -> tuple[Any, ...]:
        x, *others = super()._batch(index)
        if self._augmentation is not None and index >= self._passed_over:
            x = self._augmentation(x, self._epoch, index)
        return (x, *others)


class FollowEpochs(keras.callbacks.Callback):
    """Callback that tells a data set the number of each epoch when it begins.

    Keras passes the number of the epoch to callbacks but not to data sets.

    Args:
        data: `ShuffledBatches` or `StreamBatches`.
    """

    def __init__(self, data: ShuffledBatches | StreamBatches) -> None:
        super().__init__()
        self._data = data

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._data.begin(epoch)
