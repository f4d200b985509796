"""A budget of time for what a callback does between epochs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["TimeBudget"]


class TimeBudget:
    """Says when work may be done so that it takes at most a share of the time of training.

    The first piece of work is always allowed, and its time does not count: it compiles what later
    ones use.

    Args:
        share: Float. Largest time of the work over that of the epochs since the first piece.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._trained = self._worked = self._last = 0.0
        self._began: float | None = None
        self._is_open = False

    def begin_epoch(self) -> None:
        """Start the clock of an epoch."""
        self._began = time.perf_counter()

    def end_epoch(self) -> None:
        """Stop the clock of an epoch."""
        if self._began is not None and self._is_open:
            self._trained += time.perf_counter() - self._began
        self._began = None

    def allows_work(self) -> bool:
        """Return whether another piece of work, as long as the last one, is within the share."""
        within = self._worked + self._last <= self._share * self._trained
        return within or not self._is_open

    @contextmanager
    def work(self) -> Iterator[None]:
        """Measure a piece of work, as long as the context lasts."""
        began = time.perf_counter()
        yield
        if self._is_open:
            self._last = time.perf_counter() - began
            self._worked += self._last
        self._is_open = True
