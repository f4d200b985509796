"""Runs of followed functions, which ask at each call what to call: `CodeCalls` answers."""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras

from keras_prelu.backend.traces import current_position
from keras_prelu.custom_layers.code_keys import call_key, is_later_pass, prefix_of
from keras_prelu.custom_layers.expected_calls import ExpectedCalls
from keras_prelu.custom_layers.instrumented_code import CallSite
from keras_prelu.custom_layers.rectifier_functions import may_rectify, runs_code_of_user

__all__ = ["Calls", "Frame", "Place", "Scope"]

_MAPPING = frozenset(
    {
        *("checkpoint", "map", "map_fn", "map_structure", "pmap", "recompute_grad", "starmap"),
        *("tree_map", "vectorized_map", "vmap"),
    }
)
"""Names of functions of libraries that apply the function that they are given."""
_SHARED = "all calls of a function that is handed on share slopes"


class Calls(Protocol):
    """What answers: the calls that the code of one layer makes, see `CodeCalls`."""

    expected: ExpectedCalls

    def callee(self, function: Any) -> Any: ...

    def hear_compiled(self, function: Any, prefix: str, site: CallSite) -> None: ...

    def apply(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place
    ) -> Any: ...

    def apply_expression(self, value: Any, compute: Callable[[], Any], place: Place) -> Any: ...

    def followed(self, function: Any, prefix: str) -> Any: ...


@dataclass(frozen=True)
class Scope:
    """What one chain of calls leads to: a function, and those that are defined inside.

    Attributes:
        calls: `Calls` of the layer.
        prefix: String. The part of the keys that leads there.
        sites: Tuple of `CallSite`. The calls of the function.
        is_fixed: Boolean. Whether the function was handed on as an argument, so that its keys don't
            depend on where it is called.
    """

    calls: Calls
    prefix: str
    sites: tuple[CallSite, ...]
    is_fixed: bool

    def frame(self) -> Frame:
        return Frame(self)


@dataclass(frozen=True)
class Place:
    """A call in a run of a function: its key without parameters, and where it is."""

    key: str
    site: CallSite
    repetition: str


class Frame:
    """A run of a followed function, which counts the passes through its calls."""

    __slots__ = ("_mapping", "_passes", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._mapping: set[int] = set()  # The numbers of calls that apply what they are given.
        self._passes: Counter[tuple[int, int]] = Counter()

    def __enter__(self) -> Frame:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None and self._passes:
            sites = self._scope.sites
            counts = {
                sites[number].text: count
                for (number, position), count in self._passes.items()
                if position < 0
            }
            self._scope.calls.expected.check_passes(self._scope.prefix, counts)

    def finished(self, value: Any) -> Any:
        self.__exit__(None, None, None)
        return value

    def call(self, number: int, function: Any) -> Any:
        is_mapping = getattr(function, "__name__", "") in _MAPPING
        if is_mapping and not runs_code_of_user(function):
            self._mapping.add(number)
        if isinstance(function, type):
            return function
        site = self._scope.sites[number]
        if may_rectify(function) and not runs_code_of_user(function):
            if isinstance(function, keras.layers.Layer) and not _is_of_code(function, site):
                return function
            return self._applied(number, function)
        self._scope.calls.hear_compiled(function, self._scope.prefix, site)
        return self._followed(number, -1, self._scope.calls.callee(function))

    def argument(self, number: int, position: int, value: Any) -> Any:
        if number in self._mapping and _is_library_rectifier(value):
            return self._mapped(number, position, value)
        is_function = isinstance(value, (types.FunctionType, types.MethodType, functools.partial))
        return self._followed(number, position, value) if is_function else value

    def expression(self, number: int, value: Any, compute: Callable[[], Any]) -> Any:
        return self._scope.calls.apply_expression(value, compute, self._place(number))

    def _applied(self, number: int, function: Any) -> Any:
        def apply(*args: Any, **kwargs: Any) -> Any:
            place = self._place(number)
            return self._scope.calls.apply(function, args, kwargs, place)

        return apply

    def _mapped(self, number: int, position: int, function: Any) -> Any:
        """Return a function that a library calls in place of a rectifier that the code hands on."""
        calls, name = self._scope.calls, _name(function)
        prefix = prefix_of(self._key(number, position), argument=position)
        calls.expected.add_function(prefix, [name])
        place = Place(prefix + name, self._scope.sites[number], _SHARED)

        def apply(*args: Any, **kwargs: Any) -> Any:
            return calls.apply(function, args, kwargs, place)

        return apply

    def _followed(self, number: int, position: int, function: Any) -> Any:
        if not runs_code_of_user(function):
            return function
        key = self._key(number, position)
        prefix = prefix_of(key, argument=None if position < 0 else position)
        return self._scope.calls.followed(function, prefix)

    def _place(self, number: int) -> Place:
        key = self._key(number, -1)
        repetition = ""
        if self._scope.is_fixed:
            repetition = _SHARED
        elif current_position().loops:
            repetition = "all passes of a loop share slopes"
        elif is_later_pass(key):
            repetition = "pass of a loop"
        return Place(key=key, site=self._scope.sites[number], repetition=repetition)

    def _key(self, number: int, position: int) -> str:
        self._passes[number, position] += 1
        text = self._scope.sites[number].text
        return call_key(self._scope.prefix, text, self._passes[number, position])


def _is_of_code(layer: keras.layers.Layer, site: CallSite) -> bool:
    """Return whether the code itself created a layer that it calls, or found it in its module.

    Nothing else replaces such a layer; the `call` of a layer that is held is hooked or replaced.
    """
    return site.calls_result or "call" not in vars(layer)


def _is_library_rectifier(value: Any) -> bool:
    is_layer = isinstance(value, keras.layers.Layer)
    return not is_layer and may_rectify(value) and not runs_code_of_user(value)


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(function.__name__)
