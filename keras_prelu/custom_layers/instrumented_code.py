"""Python code with a hook at each of its calls.

`follow` returns a function that does what a given one does, and asks a `CallScope` at each call in
its source what to call: `relu(x)` becomes `frame.call(3, relu)(x)`, where 3 numbers the call. An
expression that rectifies is asked for as well: `x * (x > 0)` becomes
`frame.expression(4, x, lambda: x * (x > 0))`. The given function stays as it is, and no library is
changed: only callers of the returned function are affected.

The function is compiled anew from its syntax tree, with the globals, the closure, the defaults and
the class of the original, so that `super()` and private names mean what they meant. This needs its
source. What is compiled from the source is compared with the function's code: source that was
edited after the module was imported is refused.

Failure modes, in which `follow` returns None: code without a source file (`exec`, `python -c`),
edited sources, and functions that are not written in Python.
"""

from __future__ import annotations

import ast
import functools
import linecache
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from keras_prelu.custom_layers.function_sources import FUTURE_FLAGS, parsed_file, source_of
from keras_prelu.custom_layers.hooked_syntax import SCOPE, calls_in_order, compiled_with_hooks
from keras_prelu.custom_layers.rectifying_syntax import rectified_tensor

__all__ = ["CallFrame", "CallScope", "CallSite", "call_sites", "follow", "scope_of"]


@dataclass(frozen=True)
class CallSite:
    """A call, or an expression that rectifies, in the source of a function.

    Attributes:
        text: String. The call as source code, without line breaks and comments. If the function has
            several calls with the same text, their number and count follow: `relu(x)@1/2`.
        file: String. Path of the source file.
        line: Integer. Line of the call.
        function: String. Qualified name of the function that contains the call.
        calls_result: Boolean. Whether the result of another call is called, as in
            `keras.layers.ReLU()(x)`.
        is_expression: Boolean. Whether it is an expression that rectifies (`rectifying_syntax`).
    """

    text: str
    file: str
    line: int
    function: str
    calls_result: bool = False
    is_expression: bool = False


class CallFrame(Protocol):
    """One run of a followed function, and the context of its body."""

    def __enter__(self) -> Any: ...

    def __exit__(self, kind: object, error: object, traceback: object) -> None: ...

    def finished(self, value: Any) -> Any:
        """Return the value of a lambda, whose run ends with it."""

    def call(self, number: int, function: Any) -> Any:
        """Return what is called instead of a function, by the number of the call."""

    def argument(self, number: int, position: int, value: Any) -> Any:
        """Return what is passed on instead of an argument of a call."""

    def expression(self, number: int, value: Any, compute: Callable[[], Any]) -> Any:
        """Return the value of an expression that rectifies.

        Args:
            number: Integer. The number of the expression.
            value: Any. What it rectifies.
            compute: Callable. Returns the value of the expression as it is written.
        """


class CallScope(Protocol):
    """What a followed function asks."""

    def frame(self) -> CallFrame:
        """Return the `CallFrame` of a run that begins."""


@dataclass(frozen=True)
class _Instrumented:
    """Attributes:
    code: Code with one more free variable, the scope.
    sites: Tuple of `CallSite`. The calls in it.
    """

    code: types.CodeType
    sites: tuple[CallSite, ...]


def call_sites(function: types.FunctionType) -> tuple[CallSite, ...] | None:
    """Return the calls in a function, or None if it can't be followed."""
    found = _instrumented(function)
    return None if found is None else found.sites


def follow(function: types.FunctionType, scope: CallScope) -> types.FunctionType | None:
    """Return a function that asks a scope at each of its calls, or None if there is no source.

    Args:
        function: Python function. One that is followed already gets the new scope.
        scope: `CallScope`.
    """
    code = function.__code__
    if scope_of(function) is None:
        found = _instrumented(function)
        if found is None:
            return None
        code = found.code
    cells = _cells(function)
    cells[SCOPE] = types.CellType(scope)
    followed = types.FunctionType(
        code,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells[name] for name in code.co_freevars),
    )
    functools.update_wrapper(followed, function)
    del vars(followed)["__wrapped__"]
    followed.__kwdefaults__ = function.__kwdefaults__
    # TensorFlow's AutoGraph would compile the source of the original function instead.
    vars(followed)["autograph_info__"] = {}
    return followed


def scope_of(function: types.FunctionType) -> Any:
    """Return the scope of a function that is followed, or None for any other."""
    cell = _cells(function).get(SCOPE)
    return None if cell is None else cell.cell_contents


def _cells(function: types.FunctionType) -> dict[str, types.CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


_CACHE: dict[int, tuple[types.CodeType, _Instrumented | None]] = {}


def _instrumented(function: types.FunctionType) -> _Instrumented | None:
    code = function.__code__
    if id(code) not in _CACHE:
        # Ids are unique only among live objects, so the code has to stay alive.
        _CACHE[id(code)] = (code, _instrument(code, function.__globals__))
    return _CACHE[id(code)][1]


def _instrument(code: types.CodeType, module: Mapping[str, Any]) -> _Instrumented | None:
    source = "".join(linecache.getlines(code.co_filename, dict(module)))
    try:
        file = parsed_file(source, code.co_filename, code.co_flags & FUTURE_FLAGS)
    except (SyntaxError, ValueError):
        return None
    if file is None or code not in file.codes:
        return None
    found = source_of(code, file.functions)
    if found is None:
        return None
    node = deepcopy(found.node)
    calls = list(calls_in_order(node))
    sites = _call_sites(calls, code)
    try:
        instrumented = compiled_with_hooks(node, calls, found.class_name, code)
    except (SyntaxError, RecursionError):
        return None
    return None if instrumented is None else _Instrumented(code=instrumented, sites=sites)


def _call_sites(calls: Sequence[ast.expr], code: types.CodeType) -> tuple[CallSite, ...]:
    # " -> " joins the texts of calls in keys.
    texts = [ast.unparse(call).replace(" -> ", "->") for call in calls]
    counts, numbers = Counter(texts), Counter[str]()
    sites = []
    for call, text in zip(calls, texts, strict=True):
        numbers[text] += 1
        sites.append(
            CallSite(
                text=text if counts[text] == 1 else f"{text}@{numbers[text]}/{counts[text]}",
                file=code.co_filename,
                line=call.lineno,
                function=code.co_qualname,
                calls_result=isinstance(call, ast.Call) and isinstance(call.func, ast.Call),
                is_expression=rectified_tensor(call) is not None,
            )
        )
    return tuple(sites)
