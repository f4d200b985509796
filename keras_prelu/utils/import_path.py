"""The working directory on `sys.path`, for as long as a user's modules are imported from it.

An installed script does not find modules of the working directory, unlike `python -m`. Failure
mode: if the entry were not removed, later imports of the process could find a user's file instead
of an installed package.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from keras_prelu.utils.process_state import SharedChange

__all__ = ["imports_from_working_directory", "keeps_import_path"]

_KEPT: ContextVar[contextlib.ExitStack | None] = ContextVar("keras_prelu_import_path", default=None)


@contextlib.contextmanager
def imports_from_working_directory() -> Iterator[None]:
    """Put the working directory first on `sys.path`, within the context.

    Inside `keeps_import_path`, it stays there until that context ends.
    """
    change = _first_on_path(os.getcwd())
    kept = _KEPT.get()
    if kept is not None:
        kept.enter_context(change())
        yield
        return
    with change():
        yield


@contextlib.contextmanager
def keeps_import_path() -> Iterator[None]:
    """Let what is put on `sys.path` within the context stay there until it ends.

    It is for a whole command: a user's functions may import other modules when they are called.
    """
    with contextlib.ExitStack() as stack:
        token = _KEPT.set(stack)
        try:
            yield
        finally:
            _KEPT.reset(token)


@functools.cache
def _first_on_path(directory: str) -> SharedChange:
    def make() -> Callable[[], None]:
        if directory in sys.path:
            return lambda: None
        sys.path.insert(0, directory)

        def undo() -> None:
            with contextlib.suppress(ValueError):  # Imported code may have removed the entry.
                sys.path.remove(directory)

        return undo

    return SharedChange(make)
