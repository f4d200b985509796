"""A callback that revives dead units during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.revival.optimizer_state import check_state, reset_state
from keras_prelu.revival.records import Revival
from keras_prelu.revival.reviver import Reviver, check_threshold
from keras_prelu.sites.dead_units import NEARLY_DEAD
from keras_prelu.utils.checks import check_integer

__all__ = ["EpochRevival", "Revive"]


@dataclass(frozen=True, kw_only=True)
class EpochRevival:
    """The revival at the end of one epoch.

    Attributes:
        epoch: Int. The epoch, counted from 0.
        revival: `Revival`. Its record.
    """

    epoch: int
    revival: Revival


class Revive(keras.callbacks.Callback):
    """Callback that revives dead units at the end of epochs, for networks that go on learning.

    It does what `keras_prelu.revive` does, and then gives the optimizer the state that it starts
    with (moments, accumulators, moving averages of weights) for exactly the weights that were
    assigned: the incoming and outgoing weights of the revived units. Stale moments would move the
    fresh weights as the old ones moved. All other weights and all other state stay as they are, bit
    for bit, and so does the count of steps: after many steps of Adam, the first step of a fresh
    weight is about three times as long as an ordinary one.

    The losses and metrics of the epoch are those before the revival, so list this callback after
    those that save or judge the model of an epoch (`ModelCheckpoint`, `EarlyStopping`);
    `finetune` sees to that by itself. Each epoch costs a pass over `samples`, and one with dead
    units a few more.

    Args:
        samples: Unlabeled samples on which dead units are found, as in `keras_prelu.revive`: an
            array, or a list or dict of arrays; a few hundred to a few thousand of those that the
            model is trained on now.
        every: Int. Epochs from one revival to the next. Defaults to 1.
        threshold: Float in [0, 1). A unit that is active on at most this share of the samples is
            dead. Defaults to 0.01.
        batch_size: Int. Samples that pass through the model at once. Defaults to 128.
        seed: Int. Seed of the fresh weights, which also depend on the optimizer's count of steps.
            Defaults to 0.

    Attributes:
        records: List of `EpochRevival`, one for each revival, also those without a dead unit. The
            copies that `finetune` makes of a callback add to the same list.

    Raises:
        InvalidArgumentError: A ValueError; an argument is out of range; or, at the start of
            training, the optimizer has state whose weights are not known.
        ConversionError: Raised in training; as in `keras_prelu.revive`.
        DataError: Raised at the start of training; the samples do not fit the model.

    Example:

    >>> revive = keras_prelu.callbacks.Revive(x_train[:512], every=2)
    >>> history = model.fit(x_train, y_train, epochs=4, verbose=0, callbacks=[revive])
    >>> [record.revival.revived for record in revive.records]

    References:
        Sokar et al. 2023, https://arxiv.org/abs/2302.12902 (ReDo). Claims 2 and 4.
    """

    changes_training = True
    """Whether trained weights depend on it, which the checkpoints of `finetune` have to know."""

    def __init__(
        self,
        samples: Any,
        *,
        every: int = 1,
        threshold: float = NEARLY_DEAD,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_integer("every", every, minimum=1)
        check_threshold(threshold)
        check_integer("batch_size", batch_size, minimum=1)
        check_integer("seed", seed, minimum=0)
        self._samples = samples
        self._every, self._threshold = every, threshold
        self._batch_size, self._seed = batch_size, seed
        self._reviver: Reviver | None = None
        self.records: list[EpochRevival] = []

    def __deepcopy__(self, memo: Any) -> Revive:
        copy = Revive(
            self._samples,
            every=self._every,
            threshold=self._threshold,
            batch_size=self._batch_size,
            seed=self._seed,
        )
        copy.records = self.records
        return copy

    def on_train_begin(self, logs: Any = None) -> None:
        check_state(self.model.optimizer)
        self._reviver = Reviver(
            self.model, self._samples, threshold=self._threshold, batch_size=self._batch_size
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._reviver is None or (epoch + 1) % self._every:
            return
        # Keras's variables hold the state of training between epochs, on JAX too, where they give
        # it away during an epoch. The steps are the same in a training that was resumed.
        steps = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        revived = self._reviver(int(np.random.default_rng([self._seed, steps]).integers(2**31)))
        reset_state(self.model.optimizer, revived.changed)
        self.records.append(EpochRevival(epoch=epoch, revival=revived.record))

    def on_train_end(self, logs: Any = None) -> None:
        self._reviver = None
