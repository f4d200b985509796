"""Time of the training steps of an epoch."""

from __future__ import annotations

import time
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Times the training steps of each epoch, including the fetching of batches and excluding what
    follows the last step.

    Attributes:
        milliseconds: Milliseconds of a step by epoch; the first epoch's include compilation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.milliseconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        steps = self.params["steps"]
        if batch + 1 == steps:
            float((logs or {})["loss"])  # waits for the device
            self.milliseconds.append((time.perf_counter() - self._start) / steps * 1e3)
