"""Which rectifier a live operation, or a function, applies."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.graph.functional import Call
from keras_prelu.graph.rectifiers import Rectifier, classify, may_rectify, named

__all__ = ["recognize", "recognize_call", "recognize_function"]

_LIBRARIES = ("keras", "tensorflow", "jax", "torch")


def recognize_call(call: Call) -> Rectifier | None:
    """The rectifier that a call in a graph applies."""
    if type(call.operation).__name__ != "Maximum":
        return recognize(call.operation)
    numbers = [
        value for value in (*call.args, *call.kwargs.values()) if isinstance(value, (int, float))
    ]
    return recognize(call.operation, {"constant": numbers[0]} if len(numbers) == 1 else {})


def recognize(operation: Any, extra: Mapping[str, Any] | None = None) -> Rectifier | None:
    """The rectifier that a layer or op applies if it is Keras's or ours; a user's subclass of ReLU
    may compute anything.

    A subclass that inherits `call` unchanged from Keras's class computes what that does.
    """
    if not isinstance(operation, keras.Operation) or _stood_in_for(operation):
        return None
    cls = _defining_class(operation)
    if cls is None:
        return None
    if not isinstance(operation, keras.layers.Layer):
        found = classify(cls.__name__, {**vars(operation), **(extra or {})})
        return found and replace(found, kind="op")
    if not may_rectify(cls.__name__):
        return None
    activation = getattr(operation, "activation", None)
    if isinstance(activation, types.FunctionType) and not _is_a_librarys(activation):
        return None  # Keras would write its bare name, which may be that of one of Keras's
    return classify(cls.__name__, operation.get_config())


def recognize_function(function: Any) -> Rectifier | None:
    """The rectifier that a function computes: `relu` of Keras, TensorFlow, JAX or PyTorch, or a
    `functools.partial` of it."""
    if isinstance(function, functools.partial):
        inner = recognize_function(function.func)
        if inner is None or function.args:
            return None
        found = classify(
            "ReLU",
            {
                **function.keywords,
                "negative_slope": function.keywords.get("negative_slope", inner.negative_slope),
            },
        )
        return found and replace(
            found,
            kind="function",
            max_value=found.max_value or inner.max_value,
            smooth=inner.smooth,
        )
    if (
        not callable(function)
        or isinstance(function, (type, keras.Operation))
        or not _is_a_librarys(function)
    ):
        return None
    return named(str(getattr(function, "__name__", "")), "function")


def _defining_class(operation: Any) -> type | None:
    """The class of Keras's or ours that says what an operation computes, or None."""
    for cls in type(operation).__mro__:
        if cls.__module__.split(".")[0] in ("keras", "keras_prelu"):
            return cls if getattr(cls, "call", None) is type(operation).call else None
    return None


def _stood_in_for(operation: Any) -> bool:
    """Whether a PReLU is applied in its place already (see `custom_layers.converted_layer`)."""
    return any(
        hasattr(vars(operation).get(attribute), "stands_in") for attribute in ("call", "activation")
    )


def _is_a_librarys(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).split(".")[0] in _LIBRARIES
