"""Recognition of the rectifier that a live operation, or a function, applies."""

from __future__ import annotations

import functools
import types
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.graph.functional import Call
from keras_prelu.graph.rectifiers import Rectifier, classify, may_rectify, named

__all__ = ["recognize", "recognize_call", "recognize_function"]

_LIBRARIES = ("keras", "tensorflow", "jax", "torch")


def recognize_call(call: Call) -> Rectifier | None:
    """Return the rectifier that a call in a graph applies, or None."""
    if type(call.operation).__name__ != "Maximum":
        return recognize(call.operation)
    constants = [
        value for value in (*call.args, *call.kwargs.values()) if isinstance(value, (int, float))
    ]
    return recognize(call.operation, constants[0] if len(constants) == 1 else None)


def recognize(operation: Any, constant: float | None = None) -> Rectifier | None:
    """Return the rectifier that a layer or op applies, or None.

    Only computations that Keras or this package defines are recognized.

    A subclass that inherits `call` unchanged from Keras's class computes what that class does; one
    with a `call` of its own may compute anything.

    Args:
        operation: Layer or op.
        constant: Float. The number that an op combines its one tensor with. Defaults to None.
    """
    if not isinstance(operation, keras.Operation) or _is_replaced(operation):
        return None
    cls = _defining_class(operation)
    if cls is None:
        return None
    if not isinstance(operation, keras.layers.Layer):
        rectifier = classify(cls.__name__, {**vars(operation), "constant": constant})
        return rectifier and replace(rectifier, kind="op")
    if not may_rectify(cls.__name__):
        return None
    activation = getattr(operation, "activation", None)
    if isinstance(activation, types.FunctionType) and not _is_of_library(activation):
        # The configuration holds only a bare name, which may also name a function of Keras.
        return None
    return classify(cls.__name__, operation.get_config())


def recognize_function(function: Any) -> Rectifier | None:
    """Return the rectifier that a function computes, or None.

    Recognized are `relu` of Keras, TensorFlow, JAX and PyTorch with its relatives, and a
    `functools.partial` of these.
    """
    if isinstance(function, functools.partial):
        return _recognize_partial(function)
    if (
        not callable(function)
        or isinstance(function, (type, keras.Operation))
        or not _is_of_library(function)
    ):
        return None
    return named(str(getattr(function, "__name__", "")), "function")


def _recognize_partial(function: functools.partial[Any]) -> Rectifier | None:
    inner = recognize_function(function.func)
    if inner is None or function.args:
        return None
    slope = function.keywords.get("negative_slope", inner.negative_slope)
    rectifier = classify("ReLU", {**function.keywords, "negative_slope": slope})
    return rectifier and replace(
        rectifier,
        kind="function",
        max_value=rectifier.max_value or inner.max_value,
        smooth=inner.smooth,
    )


def _defining_class(operation: Any) -> type | None:
    """Return the class of Keras or this package that defines an operation's result, or None."""
    for cls in type(operation).__mro__:
        if cls.__module__.split(".")[0] in ("keras", "keras_prelu"):
            return cls if getattr(cls, "call", None) is type(operation).call else None
    return None


def _is_replaced(operation: Any) -> bool:
    """Return whether a PReLU already replaces an operation.

    It does so through a `StandIn` (see `custom_layers.converted_layer`).
    """
    return any(
        hasattr(vars(operation).get(attribute), "stands_in") for attribute in ("call", "activation")
    )


def _is_of_library(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] in _LIBRARIES
