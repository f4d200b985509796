"""The most memory that a process takes while it works (Linux)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["peak_memory"]

Result = TypeVar("Result")


def peak_memory(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a call returns, and the most anonymous memory in bytes that the process takes
    during it, over what it took before."""
    before, most, done = _anonymous_memory(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, _anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        done.set()
        watcher.join()
    return result, max(0.0, most - before)


def _anonymous_memory() -> float:
    """Return the anonymous resident memory: without that of files, which the system reclaims."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024.0
