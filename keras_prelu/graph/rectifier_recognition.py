"""Recognition of the rectifier that a live operation, or a function, applies."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.graph.functional import Call
from keras_prelu.graph.held_functions import is_activation_of_keras
from keras_prelu.graph.measurement import measure
from keras_prelu.graph.rectifiers import (
    APPLYING,
    RECTIFYING,
    RECURRENT,
    Rectifier,
    applied,
    classify,
    named,
)
from keras_prelu.graph.written_rectifiers import written_rectifier
from keras_prelu.utils.libraries import FRAMEWORKS, package_of

__all__ = [
    "is_of_library",
    "recognize",
    "recognize_call",
    "recognize_function",
    "unchanged_class",
]

_OF_LAYERS = frozenset({"activation", "elu", "leaky_relu", "prelu", "relu"})
"""Kinds of rectifiers that are layers, and can be the `activation` of another layer."""


def recognize_call(call: Call) -> Rectifier | None:
    """Return the rectifier that a call in a graph applies, or None.

    It may be the last of several operations that compute it, see `written_rectifiers`.
    """
    written = written_rectifier(call.operation, call.args, call.kwargs)
    if written is not None:
        return written.rectifier if _is_like(written.tensor, call.outputs[0]) else None
    if type(call.operation).__name__ != "Maximum":
        return recognize(call.operation)
    tensors = [value for value in _operands(call) if keras.utils.is_keras_tensor(value)]
    others = [value for value in _operands(call) if not keras.utils.is_keras_tensor(value)]
    if len(tensors) != 1 or len(others) != 1 or not _is_like(tensors[0], call.outputs[0]):
        return None
    return recognize(call.operation, others[0])


def recognize(operation: Any, constant: Any = None) -> Rectifier | None:
    """Return the rectifier that a layer or op applies, or None.

    Only computations that Keras or this package defines are recognized, and functions by their
    values.

    A subclass that inherits `call` unchanged from Keras's class computes what that class does; one
    with a `call` of its own may compute anything.

    Args:
        operation: Layer or op.
        constant: Number or array. What an op combines its one tensor with. Defaults to None.
    """
    if not isinstance(operation, keras.Operation) or _is_replaced(operation):
        return None
    cls = unchanged_class(operation, ("keras", "keras_prelu"))
    if cls is None:
        return None
    if not isinstance(operation, keras.layers.Layer):
        rectifier = classify(cls.__name__, {**vars(operation), "constant": constant})
        return rectifier and replace(rectifier, kind="op")
    if cls.__name__ in RECTIFYING:
        return classify(cls.__name__, vars(operation))
    if cls.__name__ == "TorchModuleWrapper" and not operation.variables:
        return applied(_measured(operation.module), "Activation")
    if cls.__name__ in APPLYING or cls.__name__ in RECURRENT:
        return applied(_of_activation(getattr(operation, "activation", None)), cls.__name__)
    return None


def recognize_function(function: Any) -> Rectifier | None:
    """Return the rectifier that a function computes, or None.

    A function of Keras's is looked up by its identity. Any other function is called on a few
    numbers, whatever its name is; the smooth functions of TensorFlow, JAX and PyTorch go by their
    names, since their parameters don't matter.
    """
    if (
        not callable(function)
        or isinstance(function, (type, keras.Operation))
        or hasattr(function, "stands_in")
    ):
        return None
    if is_activation_of_keras(function):
        return named(function.__name__, "function")
    if is_of_library(function):
        return _of_library(function)
    return _measured(function) or _smooth(function)


@functools.cache
def _of_library(function: Any) -> Rectifier | None:
    """Return the rectifier that a function of a library computes; it does not change."""
    return _measured(function) or _smooth(function)


def is_of_library(function: Any) -> bool:
    """Return whether Keras, TensorFlow, JAX or PyTorch defines a function, as its module says.

    A bound method is not among these, since the object that it belongs to has a state.
    """
    owner = getattr(function, "__self__", None)
    is_method = owner is not None and not isinstance(owner, type(functools))
    return hasattr(function, "__name__") and not is_method and package_of(function) in FRAMEWORKS


def _measured(function: Any) -> Rectifier | None:
    found = measure(function)
    if found is None:
        return None
    rectifier = classify("ReLU", vars(found))
    return rectifier and replace(rectifier, kind="function")


def _smooth(function: Any) -> Rectifier | None:
    """Return the smooth relative of ReLU that a function of a library is, or a partial of one."""
    while isinstance(function, functools.partial):
        function = function.func
    rectifier = named(str(getattr(function, "__name__", "")), "function")
    return rectifier if rectifier and rectifier.smooth and is_of_library(function) else None


def _of_activation(activation: Any) -> Rectifier | None:
    """Return the rectifier that the `activation` of a layer computes: a function or a layer."""
    if not isinstance(activation, keras.layers.Layer):
        return recognize_function(activation)
    if _is_replaced(activation):
        return None
    rectifier = recognize(activation)
    if rectifier is not None:
        return rectifier if rectifier.kind in _OF_LAYERS else None
    if not all(_has_no_variables(layer) for layer in (activation, *sublayers(activation))):
        return None
    rectifier = _measured(activation.call)
    if rectifier is not None and "training" in inspect.signature(activation.call).parameters:
        in_training = _measured(functools.partial(activation.call, training=True))
        return rectifier if in_training == rectifier else None
    return rectifier


def _has_no_variables(layer: Any) -> bool:
    """Return whether a layer has no variables, and gets none when it is called."""
    creates_none = layer.built or layer.__class__.build is keras.layers.Layer.build
    return creates_none and not layer.variables


def _operands(call: Call) -> list[Any]:
    return [*call.args, *call.kwargs.values()]


def _is_like(tensor: Any, output: Any) -> bool:
    """Return whether a tensor has the shape and dtype of an output."""
    return tuple(tensor.shape) == tuple(output.shape) and tensor.dtype == output.dtype


def unchanged_class(operation: Any, packages: Sequence[str]) -> type | None:
    """Return the class of some packages whose `call` an operation has, or None.

    A subclass that overrides `call` may compute anything.

    Args:
        operation: Layer or op.
        packages: Sequence of strings. Names of top-level packages.
    """
    for cls in type(operation).__mro__:
        if cls.__module__.split(".")[0] in packages:
            return cls if getattr(cls, "call", None) is type(operation).call else None
    return None


def _is_replaced(operation: Any) -> bool:
    """Return whether a PReLU already replaces an operation.

    It does so through a `StandIn` (see `custom_layers.converted_layer`).
    """
    return any(
        hasattr(vars(operation).get(attribute), "stands_in") for attribute in ("call", "activation")
    )
