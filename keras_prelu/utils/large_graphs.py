"""Room for models of thousands of layers: Keras walks a graph by recursion, and Python's garbage
collector walks every object of it."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["on_large_graphs"]

P = ParamSpec("P")
R = TypeVar("R")

# Keras takes one to three calls for each layer in a row; Python stops at 1,000 calls.
_ENOUGH = 100_000


def on_large_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs with a higher recursion limit and without the cyclic garbage collector.

    What is made while a graph is copied is kept, so that looking for garbage among ever more
    objects is in vain: a quarter of the time for 4,000 layers, and what makes it grow faster than
    their number.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        limit, collects = sys.getrecursionlimit(), gc.isenabled()
        sys.setrecursionlimit(max(limit, _ENOUGH))
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            sys.setrecursionlimit(limit)
            if collects:
                gc.enable()

    return wrapped
