"""Copies of optimizers and metrics from their configuration, which has to describe them fully."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keras_prelu.errors import InvalidArgumentError, reason_of
from keras_prelu.utils.libraries import package_of

__all__ = ["copy_from_config"]


def copy_from_config(original: Any, get_config: Callable[[], Mapping[str, Any]]) -> Any:
    """Return a new object of the same class from the configuration of a Keras object.

    An argument of the constructor that the configuration leaves out is taken from the attribute of
    the same name, if there is one.

    Args:
        original: Keras optimizer or metric.
        get_config: Function that returns its configuration.

    Raises:
        InvalidArgumentError: A ValueError; the class can't be constructed from it, or the copy
            would differ in an argument, which the message names.
    """
    arguments = _held_arguments(original)
    replaced = [
        name for name, value in vars(original).items() if _is_replaced(original, name, value)
    ]
    if replaced:
        raise InvalidArgumentError(
            f"{_described(original)} can't be copied: its method {replaced[0]} was replaced on the"
            " object. Write a subclass with that method."
        )
    try:
        copy = type(original).from_config({**arguments, **get_config()})
    except Exception as error:  # Whatever the user's code raises.
        raise InvalidArgumentError(
            f"{_described(original)} can't be copied: from_config(get_config()) fails"
            f" ({reason_of(error)}). Give its class a get_config() with every argument of __init__."
        ) from error
    for name, value in arguments.items():
        copied = vars(copy).get(name)
        if not _is_same(value, copied):
            raise InvalidArgumentError(
                f"{_described(original)} can't be copied: `{name}` is {copied!r} in the copy"
                f" instead of {value!r}. Give its class a get_config() with every argument of"
                " __init__."
            )
    return copy


def _is_replaced(original: Any, name: str, value: Any) -> bool:
    """Return whether an attribute hides a method; those that a `SlopeOptimizer` sets do not count.

    The optimizer in a copy of the `SlopeOptimizer` gets its own.
    """
    while isinstance(value, functools.partial):
        value = value.func
    return callable(getattr(type(original), name, None)) and package_of(value) != "keras_prelu"


def _held_arguments(original: Any) -> dict[str, Any]:
    """Return the arguments of a constructor that are attributes of the same name.

    Keras's own classes have complete configurations.
    """
    if type(original).__module__.startswith("keras."):
        return {}
    return {
        parameter.name: vars(original)[parameter.name]
        for parameter in inspect.signature(type(original).__init__).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name in vars(original)
    }


def _is_same(value: Any, other: Any) -> bool:
    """Return whether two settings are the same, as far as they can be compared."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return type(value) is type(other) and (value == other or value != value)
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(_is_same, value, other))
    if isinstance(value, np.ndarray):
        return bool(np.array_equal(value, np.asarray(other)))
    return type(value) is type(other)


def _described(original: Any) -> str:
    return f"'{original.name}' ({type(original).__name__})"
