"""What functions take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

__all__ = ["around_calls", "required_arguments"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

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


def around_calls(
    call: Callable[[Callable[..., Any], inspect.BoundArguments], Any],
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Return a decorator with which another function makes the calls of a function.

    Args:
        call: Callable of (function, bound arguments) that returns the result. A call whose
            arguments do not fit goes to the function itself, whose error a caller expects.
    """

    def decorate(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapper(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)
            result: _Result = call(function, bound)
            return result

        return wrapper

    return decorate
