"""Keeping what libraries print away from the user."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator

__all__ = ["errors_alone", "nothing_silenced", "silenced"]

_loud = 0  # how many `nothing_silenced` contexts are open


@contextlib.contextmanager
def nothing_silenced() -> Iterator[None]:
    """Make the other contexts of this module silence nothing during the body, in all threads.

    The count lets the context be nested. If it were not restored, one command with `--debug` would
    make every later command of the process print what libraries print.
    """
    global _loud
    _loud += 1
    try:
        yield
    finally:
        _loud -= 1


@contextlib.contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Let nothing that is written to these file descriptors through: standard error (2) where none
    is given.

    Libraries in C++ write there directly, past `sys.stderr`.
    """
    if _loud:
        yield
        return
    descriptors = descriptors or (2,)
    try:
        saved = [os.dup(descriptor) for descriptor in descriptors]
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as sink:
        for descriptor in descriptors:
            os.dup2(sink.fileno(), descriptor)
        try:
            yield
        finally:
            for descriptor, copy in zip(descriptors, saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


@contextlib.contextmanager
def errors_alone(name: str) -> Iterator[None]:
    """Let nothing but errors through of what is logged under a name."""
    logger = logging.getLogger(name)
    level = logger.level
    if not _loud:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
