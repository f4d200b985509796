"""A time limit for a piece of code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["TooLong", "limited"]


class TooLong(BaseException):
    """Raised at the time limit. It is no Exception, so that no code on the way handles it."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise `TooLong` in the body after a number of seconds. For the main thread only."""

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
