"""Operators of Python code that symbolic tensors do not have, though tensors do.

Keras builds a graph from `x * weight`, but `weight * x` asks the variable first, which would read
the values of `x` and raises an error. And `x == 0` compares Python objects: it is False, where it
is a mask in `fit`. Python code that is written for `fit` may contain any of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from keras_prelu.utils.process_state import SharedChange

__all__ = ["symbolic_operators"]

_OPERATIONS = {
    "__add__": "add",
    "__sub__": "subtract",
    "__mul__": "multiply",
    "__truediv__": "true_divide",
    "__floordiv__": "floor_divide",
    "__matmul__": "matmul",
    "__mod__": "mod",
    "__pow__": "power",
    "__eq__": "equal",
    "__ne__": "not_equal",
    "__lt__": "less",
    "__le__": "less_equal",
    "__gt__": "greater",
    "__ge__": "greater_equal",
}
"""Names of `keras.ops` functions, by the operators that call them."""
_COMPARING_OBJECTS = ("keras", "keras_prelu", "optree")
"""The packages that compare symbolic tensors as objects."""


def _patch() -> Callable[[], None]:
    patched = []
    for cls in dict.fromkeys(_classes()):
        for operator, operation in _OPERATIONS.items():
            original = vars(cls).get(operator)
            if original is not None:
                setattr(cls, operator, _symbolic(original, getattr(keras.ops, operation)))
                patched.append((cls, operator, original))

    keras.KerasTensor.__eq__ = _equal

    def undo() -> None:
        del keras.KerasTensor.__eq__
        for cls, operator, original in patched:
            setattr(cls, operator, original)

    return undo


def _equal(self: Any, other: Any) -> Any:
    """Return a symbolic tensor of what the user's code compares; others compare objects."""
    frame = inspect.currentframe()
    caller = frame.f_back.f_globals.get("__name__", "") if frame and frame.f_back else ""
    if other is None or isinstance(other, str) or caller.partition(".")[0] in _COMPARING_OBJECTS:
        return NotImplemented
    return keras.ops.equal(self, other)


def _classes() -> list[type]:
    defining = [cls for cls in keras.Variable.__mro__ if "__mul__" in vars(cls)][:1]
    # Tensors of TensorFlow and PyTorch leave the operator to the symbolic tensor by themselves.
    arrays = [type(keras.ops.zeros(()))] if keras.backend.backend() == "jax" else []
    return [*defining, *arrays]


def _symbolic(original: Callable[..., Any], operation: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def operator(self: Any, other: Any, *args: Any) -> Any:
        if keras.utils.is_keras_tensor(other):
            return operation(self, other)
        return original(self, other, *args)

    return operator


symbolic_operators = SharedChange(_patch)
"""Context in which a weight, or an array of JAX, takes a symbolic tensor as its right operand, and
in which `==` between a symbolic tensor and numbers or tensors makes a graph.

It changes the classes for all threads, but only expressions that are an error otherwise, or that
compare a symbolic tensor with `==` outside of Keras.
"""
