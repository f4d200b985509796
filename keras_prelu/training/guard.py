"""A guard that stops trainings that diverge."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import CheckedSamples, Samples
from keras_prelu.errors import FineTuningError
from keras_prelu.sites.prelu_layers import has_prelu_layers

__all__ = ["DivergedTrainingError", "DivergenceGuard", "largest_sound_loss"]

EXPLODED = 100.0
"""A loss has exploded when it is this many times what the network has for wrong labels."""

_SAMPLES = 128
_BATCHES_BETWEEN_CHECKS = 32


class DivergedTrainingError(FineTuningError):
    """A training that was stopped since its loss was not finite, or exploded.

    Attributes:
        model: Str. The name of the model.
        reason: Str. What happened, as part of a sentence.
    """

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"The training of '{model}' diverged: {reason}. Lower the learning rate.")
        self.model = model
        self.reason = reason


class DivergenceGuard(keras.callbacks.Callback):
    """Callback that stops a training whose loss is not finite or above a limit.

    The loss is the running mean of an epoch, which Keras reports after each batch. It is checked
    after the first batches of an epoch, every 32 batches, and at its end.

    Args:
        limit: Float. The largest loss of a training that may still succeed; infinity for none.

    Attributes:
        reason: Str. Why the training was stopped; empty if it was not.
    """

    # The check reads a number that Keras passes and nothing of the model's state. Keras would wait
    # for the device after each batch otherwise.
    async_safe = True

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit
        self._epoch = 0
        self._stopped: keras.Model | None = None
        self.reason = ""

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        # On JAX, reading `self.model` writes the state of the training back to the model, which
        # must not happen beside a step.
        self._stopped = model

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = batch + 1
        if done & (done - 1) == 0 or done % _BATCHES_BETWEEN_CHECKS == 0:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check(logs)

    def _check(self, logs: Any) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if self.reason or (math.isfinite(loss) and loss <= self._limit):
            return
        what = "exploded" if math.isfinite(loss) else "was not finite"
        self.reason = f"its loss {what} in epoch {self._epoch + 1}"
        if self._stopped is not None:
            self._stopped.stop_training = True


def largest_sound_loss(
    model: keras.Model, samples: CheckedSamples, batch_size: int, seed: int
) -> float:
    """Return the limit of the loss in the training of a model.

    That is 100 times the loss for labels of other samples (which a network that knows nothing about
    them has), or the loss for the right ones if it is higher. Learning anew passes neither, and a
    training that explodes passes both. Only models with slopes have a limit: they have a way back,
    ReLU.

    Args:
        model: Keras model. It is compiled, before its training.
        samples: `CheckedSamples` with labels. Up to 128 of them are used, or a batch.
        batch_size: Int. The batch size.
        seed: Int. Seed of the choice of samples and of the labels' order.
    """
    if not has_prelu_layers(model):
        return math.inf
    rng = np.random.default_rng(seed)
    count = min(len(samples), max(_SAMPLES, batch_size))
    if count > batch_size:
        count -= count % batch_size  # JAX would compile the smaller last batch by itself.
    some = samples.take(rng.permutation(len(samples))[:count])
    others = some.take(rng.permutation(count))
    wrong = Samples(some.x, others.y, others.weights)
    losses = [_loss(model, some, batch_size), _loss(model, wrong, batch_size)]
    limit = EXPLODED * max(map(abs, losses))
    return limit if math.isfinite(limit) else math.inf


def _loss(model: keras.Model, samples: Samples, batch_size: int) -> float:
    logs = model.evaluate(Batches(samples, batch_size), verbose=0, return_dict=True)
    return float(logs["loss"])
