"""Users' own functions, named `module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from keras_prelu.errors import DataError, reason_of
from keras_prelu.utils.import_path import imports_from_working_directory

__all__ = [
    "called_by_name",
    "is_function_name",
    "named_function",
    "named_instance",
    "named_object",
]


def is_function_name(text: str) -> bool:
    """Return whether a string can name a function of a module."""
    module, colon, function = text.partition(":")
    return (
        bool(colon)
        and function.isidentifier()
        and all(part.isidentifier() for part in module.split("."))
    )


def named_function(name: str) -> Callable[..., Any]:
    """Import the function `module:function`, also from a module in the working directory.

    Raises:
        DataError: There is no such module or function, or the module can't be imported.
    """
    found = named_object(name)
    if not callable(found):
        module, _, function = name.partition(":")
        raise DataError(f"'{name}': module '{module}' has no function '{function}'.")
    return found


def named_object(name: str) -> Any:
    """Import the object `module:name`, also from a module in the working directory.

    Returns:
        The object; None if the module has none of this name.

    Raises:
        DataError: There is no such module, or it can't be imported.
    """
    if not is_function_name(name):
        raise DataError(f"'{name}' names no function. Write module:function.")
    module, _, function = name.partition(":")
    try:
        with imports_from_working_directory():
            return getattr(importlib.import_module(module), function, None)
    except Exception as error:  # The user's module may raise anything.
        raise DataError(
            f"'{name}': module '{module}' can't be imported: {reason_of(error)}."
        ) from error


def called_by_name(name: str, *arguments: Any) -> Any:
    """Return what the function `module:function` returns.

    Raises:
        DataError: There is no such module or function, or it raises an exception.
    """
    function = named_function(name)
    try:
        return function(*arguments)
    except Exception as error:  # The user's function may raise anything.
        raise DataError(f"'{name}' failed: {reason_of(error)}.") from error


def named_instance(name: str) -> Any:
    """Return the function or object `module:name`; a class is constructed without arguments.

    Raises:
        DataError: There is no such module or function, or the constructor raises an exception.
    """
    found = named_function(name)
    return called_by_name(name) if inspect.isclass(found) else found
