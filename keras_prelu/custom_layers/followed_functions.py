"""Functions and methods of the user's that are followed: copies that ask the `Calls` of a layer."""

from __future__ import annotations

import functools
import types
from typing import Any

from keras_prelu.custom_layers.code_frames import Calls, Scope
from keras_prelu.custom_layers.code_keys import is_for_argument
from keras_prelu.custom_layers.instrumented_code import call_sites, follow, scope_of
from keras_prelu.custom_layers.rectifier_functions import runs_code_of_user
from keras_prelu.utils.libraries import is_of_user

__all__ = ["FollowedFunctions", "is_followed_method", "scope_of_method"]


class FollowedFunctions:
    """Followed functions, each of which is made once.

    Args:
        calls: `Calls`. What they ask.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._made: dict[tuple[int, str], tuple[Any, Any]] = {}

    def followed(self, function: Any, prefix: str) -> Any:
        """Return a function of the user's that asks the `Calls`; anything else as it is.

        Args:
            function: Any. A function, method, partial or callable object; or anything else.
            prefix: String. The part of the keys that leads to the function.
        """
        if isinstance(function, types.FunctionType):
            return self._followed_function(function, prefix) if is_of_user(function) else function
        if isinstance(function, types.MethodType):
            inner = self.followed(function.__func__, prefix)
            is_same = inner is function.__func__
            return function if is_same else types.MethodType(inner, function.__self__)
        if isinstance(function, functools.partial):
            inner = self.followed(function.func, prefix)
            return functools.partial(inner, *function.args, **function.keywords)
        if runs_code_of_user(function):
            method = type(function).__call__
            inner = self.followed(method, prefix)
            return function if inner is method else types.MethodType(inner, function)
        return function

    def _followed_function(self, function: types.FunctionType, prefix: str) -> Any:
        cached = self._made.get((id(function), prefix))
        if cached is not None:
            return cached[1]
        scope = scope_of(function)
        if scope is not None and (scope.calls is not self._calls or scope.is_fixed):
            # The `call` of another layer, which is called directly; a function that was handed on.
            return function
        sites = call_sites(function) if scope is None else scope.sites
        if sites is None:
            self._calls.expected.refuse_unfollowed(prefix, function)
            return function
        self._calls.expected.add_function(prefix, (site.text for site in sites))
        is_fixed = is_for_argument(prefix)
        followed = follow(
            function, Scope(calls=self._calls, prefix=prefix, sites=sites, is_fixed=is_fixed)
        )
        if not function.__closure__ and not is_fixed:
            # What a library gets is new each time: JAX keeps its traces of the functions that it
            # knows, with the slopes of then.
            self._made[id(function), prefix] = (function, followed)
        return followed


def is_followed_method(value: Any) -> bool:
    """Return whether a value is a method of a layer that `CodeCalls` put in place."""
    return scope_of_method(value) is not None


def scope_of_method(value: Any) -> Scope | None:
    """Return the scope of a method that is followed, or None for anything else."""
    function = getattr(value, "__func__", None)
    scope = scope_of(function) if isinstance(function, types.FunctionType) else None
    return scope if isinstance(scope, Scope) else None
