"""What functions of users take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["required_arguments"]

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def required_arguments(function: Callable[..., Any]) -> int:
    """Return how many arguments a function requires by position; 0 if it does not tell.

    Args:
        function: Function, or any other object that can be called.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # A function of compiled code may have no signature.
        return 0
    return sum(each.kind in _BY_POSITION and each.default is each.empty for each in parameters)
