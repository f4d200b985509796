"""The functions that a layer and the layers inside it hold in their attributes."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_prelu.backend.keras_internals import own_attributes, sublayers
from keras_prelu.graph.hooks import HookTarget

__all__ = ["held_functions", "is_activation_of_keras", "is_function", "is_plain_function"]

_OTHER_CALLABLES: tuple[type, ...] = (
    type,
    keras.Operation,
    keras.Initializer,
    keras.Loss,
    keras.Metric,
    keras.Optimizer,
    keras.Quantizer,
    keras.Regularizer,
    keras.callbacks.Callback,
    keras.constraints.Constraint,
    keras.random.SeedGenerator,
)
"""Callables that have configurations, or none that a layer applies."""


def is_function(value: Any) -> bool:
    """Return whether an attribute's value is a function, a method or another callable object.

    Layers, and objects of Keras's such as initializers, are not functions, nor is what replaces a
    rectifier (see `custom_layers.converted_layer`).
    """
    return (
        callable(value)
        and not isinstance(value, (list, tuple, Mapping, *_OTHER_CALLABLES))
        and not hasattr(value, "stands_in")
    )


def is_plain_function(function: Any) -> bool:
    """Return whether a function has no state: neither an object's nor a method's."""
    if isinstance(function, functools.partial):
        return is_plain_function(function.func)
    owner = getattr(function, "__self__", None)
    if isinstance(function, types.BuiltinFunctionType):
        return owner is None or isinstance(owner, (type, types.ModuleType))
    return isinstance(function, types.FunctionType) or (
        owner is None and type(function).__module__.split(".")[0] in ("jax", "jaxlib")
    )


def _functions_in_value(target: HookTarget, value: Any) -> Iterator[tuple[HookTarget, Any]]:
    """Yield the functions that a value is or, at any depth, contains, with their targets.

    Args:
        target: `HookTarget`. What has the value.
        value: Any. The value.
    """
    if is_function(value):
        yield target, value
    elif isinstance(value, (list, tuple, Mapping)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            inner = HookTarget(target.owner, target.attribute, (*target.keys, key))
            yield from _functions_in_value(inner, item)


def held_functions(layer: Any) -> Iterator[tuple[HookTarget, Any]]:
    """Yield the functions that a layer and the layers inside it hold, with their targets."""
    for owner in (layer, *sublayers(layer)):
        for name, value in own_attributes(owner):
            yield from _functions_in_value(HookTarget(owner, name), value)


def is_activation_of_keras(function: Any) -> bool:
    """Return whether a function is one of `keras.activations`, which its name describes."""
    name = getattr(function, "__name__", None)
    return isinstance(name, str) and getattr(keras.activations, name, None) is function
