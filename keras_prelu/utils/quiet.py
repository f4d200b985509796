"""Discarding of what libraries print and log."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator

from keras_prelu.utils.process_state import SharedChange

__all__ = ["errors_alone", "nothing_printed", "nothing_silenced", "silenced"]

_STANDARD_ERROR = 2
_everything_passes = False


def _let_everything_pass() -> Callable[[], None]:
    def set_to(value: bool) -> None:
        global _everything_passes
        _everything_passes = value

    set_to(True)
    return functools.partial(set_to, False)


nothing_silenced = SharedChange(_let_everything_pass)
"""A change during which the contexts of this module, entered meanwhile, silence nothing."""


def _discard_prints() -> Callable[[], None]:
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = io.StringIO()

    def restore() -> None:
        sys.stdout, sys.stderr = streams

    return restore


nothing_printed = SharedChange(_discard_prints)
"""A change during which what Python code prints, in any thread, is discarded."""


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Discard what is written to file descriptors within the context.

    Libraries in C++ write to the descriptors of standard output and standard error directly, past
    `sys.stdout` and `sys.stderr`, so only redirecting the descriptors works. Failure mode: what
    other threads write there meanwhile is discarded too, and so is the output of a crash of the
    process.

    Args:
        *descriptors: Integers. 1 for standard output, 2 for standard error. Defaults to 2.
    """
    with contextlib.ExitStack() as stack:
        if not _everything_passes:
            for descriptor in descriptors or (_STANDARD_ERROR,):
                stack.enter_context(_discarding(descriptor)())
        yield


@contextlib.contextmanager
def errors_alone(name: str) -> Iterator[None]:
    """Discard what is logged under a name within the context, except for errors.

    Failure mode: this includes what other threads log under the name.

    Args:
        name: String. The name of a logger.
    """
    with contextlib.ExitStack() as stack:
        if not _everything_passes:
            stack.enter_context(_logging_errors(name)())
        yield


# One change for each descriptor and for each logger, found with `setdefault`, which is atomic:
# `functools.cache` may call its function in two threads at once, and return two changes.
_by_descriptor: dict[int, SharedChange] = {}
_by_logger: dict[str, SharedChange] = {}


def _discarding(descriptor: int) -> SharedChange:
    """Return the change that discards what is written to a file descriptor."""

    def make() -> Callable[[], None]:
        _flush_python()  # What was printed before must still reach the user.
        try:
            original = os.dup(descriptor)
        except OSError:  # The descriptor is closed.
            return lambda: None
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, descriptor)
        os.close(sink)

        def undo() -> None:
            _flush_python()  # What Python has buffered meanwhile is discarded with the rest.
            os.dup2(original, descriptor)
            os.close(original)

        return undo

    return _by_descriptor.setdefault(descriptor, SharedChange(make))


def _logging_errors(name: str) -> SharedChange:
    """Return the change that lets a logger pass only errors on."""

    def make() -> Callable[[], None]:
        logger = logging.getLogger(name)
        level = logger.level
        logger.setLevel(logging.ERROR)
        return functools.partial(logger.setLevel, level)

    return _by_logger.setdefault(name, SharedChange(make))


def _flush_python() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, broken or closed.
            stream.flush()
