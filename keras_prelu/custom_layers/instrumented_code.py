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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from keras_prelu.custom_layers.function_sources import (
    FUTURE_FLAGS,
    FunctionNode,
    nested_codes,
    parsed_file,
    source_of,
)
from keras_prelu.custom_layers.rectifying_syntax import rectified_tensor

__all__ = ["CallFrame", "CallScope", "CallSite", "call_sites", "follow", "scope_of"]

_SCOPE, _FRAME = "keras_prelu_scope", "keras_prelu_frame"
_OUTER = "keras_prelu_outer"
_MOST_ARGUMENTS = 1000
"""What tells the positions of a list's elements from those of arguments."""


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
    cells[_SCOPE] = types.CellType(scope)
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
    cell = _cells(function).get(_SCOPE)
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
    calls = list(_calls_in_order(node))
    sites = _call_sites(calls, code)
    try:
        instrumented = _compiled(_Transformer(calls).visit(node), found.class_name, code)
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


def _body(node: FunctionNode) -> list[ast.AST]:
    """Return what a function executes, without its defaults, decorators and annotations."""
    return [node.body] if isinstance(node, ast.Lambda) else list(node.body)


def _calls_in_order(node: FunctionNode) -> Iterator[ast.expr]:
    calls = (each for statement in _body(node) for each in ast.walk(statement))
    hooked: list[Any] = [each for each in calls if _is_hooked(each)]
    yield from sorted(hooked, key=lambda call: (call.end_lineno, call.end_col_offset))


def _is_hooked(node: ast.AST) -> bool:
    """Return whether a node is an expression that rectifies, or a call.

    `super` is left out, which looks at its caller.
    """
    if isinstance(node, ast.BinOp):
        return rectified_tensor(node) is not None
    return isinstance(node, ast.Call) and not (
        isinstance(node.func, ast.Name) and node.func.id == "super"
    )


class _Transformer(ast.NodeTransformer):
    """Puts the hooks into a function."""

    def __init__(self, calls: Iterable[ast.expr]) -> None:
        self._numbers = {id(call): number for number, call in enumerate(calls)}

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._visit_expression(node)

    def _visit_expression(self, node: ast.expr) -> ast.AST:
        number, tensor = self._numbers.get(id(node)), rectified_tensor(node)
        if number is None or tensor is None:
            return self.generic_visit(node)
        tensor = deepcopy(tensor)
        compute: Any = _expression("lambda: None")
        compute.body = self.generic_visit(node)
        hook: Any = _hook("expression", number, tensor)
        hook.args.append(ast.copy_location(compute, node))
        return ast.copy_location(hook, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if rectified_tensor(node) is not None:
            return self._visit_expression(node)
        number = self._numbers.get(id(node))
        self.generic_visit(node)
        if number is None:
            return node
        node.func = _hook("call", number, node.func)
        node.args = [_argument(number, i, each) for i, each in enumerate(node.args)]
        for i, keyword in enumerate(node.keywords, start=len(node.args)):
            if keyword.arg is not None:
                keyword.value = _argument(number, i, keyword.value)
        return node

    def visit_FunctionDef(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        has_docstring = ast.get_docstring(node, clean=False) is not None
        (run,) = ast.parse(f"with {_SCOPE}.frame() as {_FRAME}: ...").body
        start = int(has_docstring)
        rest = node.body[start:]
        if rest:
            ast.copy_location(run, rest[0])
            run.body = rest  # type: ignore[attr-defined]
            node.body = [*node.body[:start], run]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.generic_visit(node)
        inner: Any = _expression(f"lambda {_FRAME}: None")
        inner.body = ast.copy_location(
            ast.Call(_expression(f"{_FRAME}.finished"), [node.body], []), node.body
        )
        node.body = ast.copy_location(ast.Call(inner, [_new_frame()], []), node.body)
        return node


def _new_frame() -> ast.expr:
    return _expression(f"{_SCOPE}.frame()")


def _expression(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body


def _argument(number: int, position: int, node: ast.expr) -> ast.expr:
    """Return an argument, which is asked for if it may be a function.

    So are those of a list or dict.
    """
    if isinstance(node, (ast.Attribute, ast.Lambda, ast.Name)):
        return _hook("argument", number, node, position)
    first = _MOST_ARGUMENTS * (position + 1)
    if isinstance(node, (ast.List, ast.Tuple)):
        node.elts = [_argument(number, first + i, each) for i, each in enumerate(node.elts)]
    if isinstance(node, ast.Dict):
        node.values = [_argument(number, first + i, each) for i, each in enumerate(node.values)]
    return node


def _hook(method: str, number: int, node: ast.expr, *position: int) -> ast.expr:
    hook: Any = _expression(f"{_FRAME}.{method}({', '.join(map(str, (number, *position)))})")
    hook.args.append(node)
    return ast.copy_location(hook, node)


def _compiled(node: Any, class_name: str, code: types.CodeType) -> types.CodeType | None:
    """Return the code of an instrumented function, whose free variables are named as before.

    The function stands in a class of the same name, by which private names are mangled, in a
    function that has its free variables.
    """
    # The function has the defaults of the original, which are not evaluated again.
    node.args.defaults = []
    node.args.kw_defaults = [None] * len(node.args.kwonlyargs)
    if isinstance(node, ast.Lambda):
        statement: ast.stmt = ast.Expr(node)
    else:
        node.decorator_list = []
        statement = node
    free = [name for name in code.co_freevars if name != "__class__"]
    # What the function and its class are bound to in their module is no variable of the outer one.
    own = sorted({class_name, getattr(node, "name", "")} - {"", *free})
    body: list[ast.stmt] = [ast.Global(own)] if own else []
    body.append(_with_body(f"class {class_name}: ...", [statement]) if class_name else statement)
    outer = _with_body(f"def {_OUTER}({', '.join([*free, _SCOPE])}): ...", body)
    module = ast.fix_missing_locations(ast.Module([outer], []))
    flags = code.co_flags & FUTURE_FLAGS
    compiled = compile(module, code.co_filename, "exec", flags=flags, dont_inherit=True)
    for found in nested_codes(compiled):
        if found.co_name == code.co_name and set(found.co_freevars) - {_SCOPE} == set(
            code.co_freevars
        ):
            return found.replace(co_qualname=code.co_qualname)
    return None


def _with_body(source: str, body: list[ast.stmt]) -> ast.stmt:
    """Return the class or function definition of a source with another body."""
    definition: Any = ast.parse(source).body[0]
    definition.body = body
    return definition
