"""A limit on the time that the short trainings of a search take, measured while they run."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter as clock
from typing import Any

import keras

from keras_prelu.training.setup import TrainingSetup

__all__ = ["OutOfTime", "TimeLimit"]


class OutOfTime(Exception):  # noqa: N818 - it is no error: it ends a training.
    """The time is over."""


class TimeLimit:
    """A limit on the time of a search, which begins when the limit is made.

    What a training takes, c + t·steps with the time c for preparing and compiling, is predicted
    from those before it.

    Args:
        seconds: Float. The time.

    Attributes:
        seconds: Float. The time.
        seconds_per_step: Float or None. What a step takes, if that is known.
        losses: Dict. The losses of trainings that are done already, by recipe, multiplier and
            steps; they are not repeated.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.seconds_per_step: float | None = None
        self.losses: dict[tuple[str, float, int], float] = {}
        self._start = clock()
        self._last: tuple[int, float] | None = None

    def taken(self) -> float:
        """Return the seconds that have passed."""
        return clock() - self._start

    def left(self) -> float:
        """Return the seconds that are left; negative if the time is over."""
        return self.seconds - self.taken()

    def record(self, steps: int, seconds: float) -> None:
        """Note what a training took."""
        self._last = steps, seconds

    def has_time_for(self, steps: int, trainings: int = 1) -> bool:
        """Return whether trainings of so many steps each fit in the time that is left."""
        return self.left() >= trainings * self._predicted(steps)

    def affordable_steps(self, trainings: int) -> int:
        """Return how many steps each of some trainings can have in the time that is left."""
        if self._last is None:
            return 0
        steps, seconds = self._last
        step = self._step()
        return max(0, int(steps + (self.left() / trainings - seconds) / step)) if step else steps

    def _predicted(self, steps: int) -> float:
        if self._last is None:
            return 0.0
        before, seconds = self._last
        return seconds + (steps - before) * self._step()

    def _step(self) -> float:
        """Return what a step takes, at most."""
        assert self._last is not None
        steps, seconds = self._last
        share = seconds / max(1, steps)
        return share if self.seconds_per_step is None else min(share, self.seconds_per_step)

    def ending(self, setup: TrainingSetup) -> TrainingSetup:
        """Return the setup of a training that raises `OutOfTime` when the time is over."""
        fit = replace(setup.fit, callbacks=lambda: [_EndOfTime(self)])
        return replace(setup, fit=fit)


class _EndOfTime(keras.callbacks.Callback):
    """Callback that ends a training when the time is over."""

    # The check reads nothing of the model's state: Keras need not wait for the device.
    async_safe = True

    def __init__(self, limit: TimeLimit) -> None:
        super().__init__()
        self._limit = limit

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._limit.left() < 0:
            raise OutOfTime
