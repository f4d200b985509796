"""Keeping what libraries print away from the user."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator

__all__ = ["errors_alone", "let_all_through", "silenced"]

_loud = False


def let_all_through() -> None:
    """Silence nothing any more, in this process."""
    global _loud
    _loud = True


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
