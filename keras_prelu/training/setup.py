"""The data and settings that all models of a comparison are trained with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import keras

from keras_prelu.data.samples import CheckedSamples, Samples, as_samples
from keras_prelu.data.streams import batch_count, batches_of, first_batch, parts_of
from keras_prelu.training.augmentation import Augmentation
from keras_prelu.training.chosen_sites import ChosenSites
from keras_prelu.training.config import FitConfig, SlopeConfig
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.stream_batches import StreamBatches

__all__ = ["TrainingSetup"]

_MOST_BYTES = 1e9


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """The data and settings that all models of a comparison are trained with.

    Attributes:
        train: `CheckedSamples`, or a stream of batches.
        selection: `CheckedSamples` on which the best epoch is chosen; with None, the weights of
            the last epoch are kept.
        fit: `FitConfig`. Settings of the training.
        slopes: `SlopeConfig`. How slopes are trained.
        batches_per_epoch: Int. Largest number of batches in an epoch, drawn anew for each epoch;
            None for all.
        models: Tuple of Keras models. The user's models, whose variables the optimizer may exclude
            from weight decay.
        sites: `ChosenSites`. The sites that recipes convert.
    """

    train: Any
    selection: CheckedSamples | None
    fit: FitConfig
    slopes: SlopeConfig
    batches_per_epoch: int | None = None
    models: tuple[keras.Model, ...] = ()
    sites: ChosenSites = field(default_factory=ChosenSites)

    @property
    def optimizer(self) -> Any:
        """The optimizer of the weights or its name."""
        return "adam" if self.fit.optimizer is None else self.fit.optimizer

    def data(self) -> Any:
        """Return the training data, in the order that all models see."""
        if isinstance(self.train, Samples):
            return ShuffledBatches(
                self.train,
                self.fit.batch_size,
                self.fit.seed,
                limit=self.batches_per_epoch,
                augmentation=self._augmentation(),
            )
        if isinstance(self.train, StreamBatches):
            self.train.restart()
        return self.train

    def _augmentation(self) -> Augmentation | None:
        augment = self.fit.augment
        return None if augment is None else Augmentation(augment, self.fit.seed)

    def steps(self) -> int | None:
        """Return the number of steps of the whole training, or None for a stream without length."""
        batches = batch_count(self.data())
        return int(batches) * self.fit.epochs if batches else None

    def with_default_multiplier(self, multiplier: float) -> TrainingSetup:
        """Return the setup with this slope multiplier, unless it has one."""
        if self.slopes.multiplier is not None:
            return self
        return replace(self, slopes=replace(self.slopes, multiplier=multiplier))

    def without_schedules(self) -> TrainingSetup:
        """Return the setup with the first learning rate throughout, of weights and of slopes."""
        return replace(
            self,
            fit=replace(self.fit, schedule="constant"),
            slopes=replace(self.slopes, frozen_epochs=0.0, warmup_epochs=0.0),
        )

    def on_first_batches(self, count: int) -> TrainingSetup:
        """Return the setup with the first batches of a stream, in memory, as training samples.

        Args:
            count: Int. Number of batches; fewer if they take more than 1 GB.
        """
        stream = self.train.source if isinstance(self.train, StreamBatches) else self.train
        model = self.models[0]
        first, _, _ = first_batch(stream, model)
        size = sum(array.nbytes for array in keras.tree.flatten(first))
        count = max(1, min(count, int(_MOST_BYTES // max(1, size))))
        batches = (parts_of(batch, stream, model) for batch in islice(batches_of(stream), count))
        samples = as_samples(batches, model=model, role="training samples", labels="required")
        # The last batch may be smaller.
        batch_size = len(keras.tree.flatten(first)[0])
        return replace(self, train=samples, fit=replace(self.fit, batch_size=batch_size))

    def shortened(self, steps: int) -> TrainingSetup:
        """Return the setup of a shorter training on samples.

        The learning rate decays within the shorter training. Callbacks are left out. Slopes are
        frozen and warmed up for the same shares of the training.
        """
        batches = len(self.data())
        epochs = max(1, round(steps / batches))
        share = epochs / self.fit.epochs
        return replace(
            self,
            fit=replace(self.fit, epochs=epochs, callbacks=None, patience=None, verbose=0),
            slopes=replace(
                self.slopes,
                frozen_epochs=self.slopes.frozen_epochs * share,
                warmup_epochs=self.slopes.warmup_epochs * share,
            ),
            batches_per_epoch=min(batches, max(1, steps // epochs)),
        )
