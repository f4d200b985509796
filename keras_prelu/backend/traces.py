"""Where Python code runs: in which trace of the backend, and inside how many of Keras's loops.

A backend runs the functions that it is given for loops, branches, compilation and rematerialization
in a trace of their own: their tensors can't be used by the code around the trace. Where PyTorch and
eager TensorFlow run such functions as ordinary code, the functions of a loop still get parts of a
batch instead of the batch.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import backend_namespaces
from keras_prelu.utils.process_state import SharedChange

__all__ = ["Position", "code_as_written", "current_position"]

_LOOPS = frozenset(
    {
        "associative_scan",
        "fori_loop",
        "map",
        "rnn",
        "scan",
        "vectorized_map",
        "while_loop",
    }
)
"""Names of the functions of Keras's backends that call a function in a loop."""

_BRANCHES = frozenset({"cond", "switch"})
"""Names of the functions of Keras's backends that call one of several functions."""


@dataclass(frozen=True)
class Position:
    """A place in the execution of Python code.

    Attributes:
        trace: Any. The backend's trace; equal within one trace.
        loops: Integer. The number of Keras's loops around.
        recorded: Boolean. Whether a gradient tape of TensorFlow records.
    """

    trace: Any
    loops: int
    recorded: bool

    def can_use_tensors_of(self, inner: Position) -> bool:
        """Return whether code here can use the tensors of code that it called.

        Gradients included: `tf.recompute_grad` stops the tape while it runs its function.
        """
        return (
            self.trace == inner.trace
            and self.loops == inner.loops
            and self.recorded <= inner.recorded
        )


def current_position() -> Position:
    """Return where the calling code runs. Loops count within `code_as_written` only."""
    return Position(trace=_current_trace(), loops=_state.loops, recorded=_is_recorded())


@contextmanager
def code_as_written() -> Iterator[None]:
    """Let code run as it is written, and count Keras's loops, as long as the context lasts.

    Rematerialization is turned off: it changes no value, but calls a function in a trace of its
    own, and again in the backward pass. Functions that `keras.remat` returned before are not
    affected.

    Functions of loops and branches are traced anew: outside of a compiled function, JAX keeps its
    trace of a function that it has seen, and with it the values that variables had then.

    What is patched: the functions of Keras's backend, in the modules in which Keras looks them up.
    The patch is in place while any thread is in such a context, and has an effect on the threads
    that are.
    """
    with _patched():
        _state.contexts += 1
        try:
            yield
        finally:
            _state.contexts -= 1


@contextmanager
def every_branch() -> Iterator[None]:
    """Run all functions of `keras.ops.cond` and `switch` on PyTorch, as long as the context lasts.

    What the chosen one returns is returned. TensorFlow and JAX run all of them in a trace anyway.
    The patch is that of `code_as_written`.
    """
    with _patched():
        _state.every_branch += 1
        try:
            yield
        finally:
            _state.every_branch -= 1


class _State(threading.local):
    """What a thread has entered: contexts of `code_as_written` and `every_branch`, and loops."""

    contexts = 0
    loops = 0
    every_branch = 0


_state = _State()


def _patch() -> Callable[[], None]:
    """Patch Keras's functions, and return a function that undoes it."""
    undo = ExitStack()
    for namespace in backend_namespaces():
        for name, function in list(vars(namespace).items()):
            if name in _LOOPS and callable(function):
                replacement = _counting(_tracing_anew(function))
            elif name in _BRANCHES and callable(function):
                replacement = _running_all(_tracing_anew(function))
            elif name == "remat" and callable(function):
                replacement = _turned_off(function)
            else:
                continue
            setattr(namespace, name, replacement)
            undo.callback(setattr, namespace, name, function)
    return undo.close


_patched = SharedChange(_patch)


def _counting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def loop(*args: Any, **kwargs: Any) -> Any:
        _state.loops += 1
        try:
            return function(*args, **kwargs)
        finally:
            _state.loops -= 1

    return loop


def _tracing_anew(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def calling(*args: Any, **kwargs: Any) -> Any:
        return function(
            *map(_new_function, args), **{k: _new_function(v) for k, v in kwargs.items()}
        )

    return calling


def _running_all(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def calling(index: Any, *branches_and_operands: Any, **by_name: Any) -> Any:
        given = [*branches_and_operands, *by_name.values()]
        if _state.every_branch and keras.backend.backend() == "torch":
            branches = [each for each in keras.tree.flatten(given) if callable(each)]
            operands = [each for each in given[1:] if not callable(each)]
            for branch in branches:
                branch(*operands)
        return function(index, *branches_and_operands, **by_name)

    return calling


def _new_function(argument: Any) -> Any:
    """Return a function that is new to a backend, in place of a function or of each in a list."""
    if isinstance(argument, (list, tuple)) and argument and all(map(callable, argument)):
        return [_new_function(each) for each in argument]
    if not callable(argument):
        return argument
    return lambda *args, **kwargs: argument(*args, **kwargs)


def _turned_off(remat: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(remat)
    def wrapper(function: Callable[..., Any]) -> Any:
        return function if _state.contexts else remat(function)

    return wrapper


def _current_trace() -> Any:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    if backend == "jax":
        return _jax_trace()
    if backend == "torch":
        return _torch_trace()
    return None


def _is_recorded() -> bool:
    if keras.backend.backend() != "tensorflow":
        return False
    from tensorflow.python.eager import record

    return bool(record.could_possibly_record())


def _jax_trace() -> Any:
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:  # Before JAX 0.10.
        from jax.core import get_opaque_trace_state
    return get_opaque_trace_state(convention="flax")


def _torch_trace() -> Any:
    """Return the level of functorch's transformations, or "compiled" within `torch.compile`."""
    import torch

    if torch.compiler.is_compiling():
        return "compiled"
    return torch._C._functorch.maybe_current_level()
