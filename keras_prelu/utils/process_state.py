"""Changes to state that all threads of a process share, undone when the last user is done.

Saving a setting, changing it and restoring it works for one thread. When two threads overlap, the
second one saves what the first one changed, and restores that after the first one is done: the
change stays for good. `SharedChange` counts its users instead.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

__all__ = ["SharedChange", "environment_variable"]

Undo = Callable[[], object]


class SharedChange:
    """A process-wide change that is made once, however many threads and nested calls need it.

    The first `with change():` to begin makes the change, and the last one to end undoes it, in
    whichever thread that is. It can be entered again inside itself.

    While the change is in effect, it affects every thread, including threads that did not ask for
    it. The change itself runs under a lock and must not enter the same `SharedChange`.

    Args:
        make: Callable. Takes no arguments, makes the change, and returns the function that undoes
            it. If it raises, nothing was changed, and the exception is passed on.
    """

    def __init__(self, make: Callable[[], Undo]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Undo | None = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._undo is None:
                self._undo = self._make()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    undo, self._undo = self._undo, None
                    undo()


def environment_variable(name: str, value: str) -> SharedChange:
    """Return a change that sets an environment variable.

    This is for libraries that can't be configured in any other way. Child processes that are
    started meanwhile inherit the variable.

    Args:
        name: String. The variable.
        value: String. The variable's value while the change is in effect.
    """

    def make() -> Undo:
        previous = os.environ.get(name)
        os.environ[name] = value

        def undo() -> None:
            if previous is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = previous

        return undo

    return SharedChange(make)
