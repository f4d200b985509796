"""Limits for models of thousands of layers.

Keras walks a graph by recursion, and Python's cyclic garbage collector walks every object of it.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from keras_prelu.utils.process_state import SharedChange

__all__ = ["deep_recursion", "garbage_collector_off", "on_large_graphs"]

P = ParamSpec("P")
R = TypeVar("R")

# Keras makes one to three nested calls for each layer in a row; Python's default limit is 1,000.
_RECURSION_LIMIT = 100_000


def _raise_recursion_limit() -> Callable[[], None]:
    limit = sys.getrecursionlimit()
    raised = max(limit, _RECURSION_LIMIT)
    sys.setrecursionlimit(raised)

    def undo() -> None:
        # A limit that other code has set meanwhile is left for that code to undo.
        if sys.getrecursionlimit() == raised:
            sys.setrecursionlimit(limit)

    return undo


def _disable_garbage_collector() -> Callable[[], None]:
    if not gc.isenabled():
        return lambda: None
    gc.disable()
    return gc.enable


deep_recursion = SharedChange(_raise_recursion_limit)
"""Context in which Python allows 100,000 nested calls.

Keras builds, clones, saves and loads a graph by recursion, and would stop with a RecursionError at
a few hundred layers in a row. Failure mode: a recursion that never ends uses up memory, and may
crash the process, before Python stops it with a RecursionError.
"""

garbage_collector_off = SharedChange(_disable_garbage_collector)
"""Context in which the cyclic garbage collector does not run.

The objects that are created while a graph is copied stay in use, so that searching ever more of
them for garbage is in vain: it takes a quarter of the time for 4,000 layers, and is what makes that
time grow faster than their number. Failure mode: garbage in reference cycles, of any thread, stays
in memory until the context ends, so that no training or prediction belongs inside.
"""


def on_large_graphs(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that builds, copies, saves or loads a graph.

    The function runs with `deep_recursion` and with `garbage_collector_off`.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with deep_recursion(), garbage_collector_off():
            return function(*args, **kwargs)

    return wrapped
