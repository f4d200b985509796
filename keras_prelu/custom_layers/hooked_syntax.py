"""The syntax tree of a function with a hook at each of its calls (see `instrumented_code`)."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from keras_prelu.custom_layers.function_sources import FUTURE_FLAGS, FunctionNode, nested_codes
from keras_prelu.custom_layers.rectifying_syntax import rectified_tensor

__all__ = ["SCOPE", "calls_in_order", "compiled_with_hooks"]

SCOPE = "keras_prelu_scope"
"""The free variable of a function with hooks that holds what it asks."""
_FRAME = "keras_prelu_frame"
_OUTER = "keras_prelu_outer"
_MOST_ARGUMENTS = 1000
"""What tells the positions of a list's elements from those of arguments."""


def _executed(node: FunctionNode) -> list[ast.AST]:
    """Return what a function executes, without its defaults, decorators and annotations."""
    return [node.body] if isinstance(node, ast.Lambda) else list(node.body)


def calls_in_order(node: FunctionNode) -> Iterator[ast.expr]:
    """Yield the calls of a function, and its expressions that rectify, in their order."""
    calls = (each for statement in _executed(node) for each in ast.walk(statement))
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
        (run,) = ast.parse(f"with {SCOPE}.frame() as {_FRAME}: ...").body
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
    return _expression(f"{SCOPE}.frame()")


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


def compiled_with_hooks(
    node: Any, calls: Iterable[ast.expr], class_name: str, code: types.CodeType
) -> types.CodeType | None:
    """Return the code of a function with hooks, whose free variables are named as before.

    The function stands in a class of the same name, by which private names are mangled, in a
    function that has its free variables.

    Args:
        node: Syntax tree of the function. It is changed.
        calls: Iterable of nodes in it. Those to be hooked, in the order of their numbers.
        class_name: String. The name of the class around the function, or "".
        code: Code of the function.

    Raises:
        SyntaxError, RecursionError: It can't be compiled.
    """
    node = _Transformer(calls).visit(node)
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
    outer = _with_body(f"def {_OUTER}({', '.join([*free, SCOPE])}): ...", body)
    module = ast.fix_missing_locations(ast.Module([outer], []))
    flags = code.co_flags & FUTURE_FLAGS
    compiled = compile(module, code.co_filename, "exec", flags=flags, dont_inherit=True)
    for found in nested_codes(compiled):
        if found.co_name == code.co_name and set(found.co_freevars) - {SCOPE} == set(
            code.co_freevars
        ):
            return found.replace(co_qualname=code.co_qualname)
    return None


def _with_body(source: str, body: list[ast.stmt]) -> ast.stmt:
    """Return the class or function definition of a source with another body."""
    definition: Any = ast.parse(source).body[0]
    definition.body = body
    return definition
