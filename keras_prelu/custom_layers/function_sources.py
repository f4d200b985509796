"""The source of functions: the file that a code object was compiled from, and its place there."""

from __future__ import annotations
import __future__

import ast
import functools
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "FUTURE_FLAGS",
    "Definition",
    "FunctionNode",
    "SourceFile",
    "nested_codes",
    "parsed_file",
    "source_of",
]

FUTURE_FLAGS = functools.reduce(
    int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_LAMBDA = "<lambda>"
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Definition:
    """A function in a source file, and the name of the class around it, or ""."""

    node: FunctionNode
    class_name: str


@dataclass(frozen=True)
class SourceFile:
    """The code objects of a source file as it is now, and its functions."""

    codes: frozenset[types.CodeType]
    functions: tuple[Definition, ...]


@functools.lru_cache(maxsize=64)
def parsed_file(source: str, name: str, flags: int) -> SourceFile | None:
    """Return the functions of a source, or None if there is none."""
    if not source:
        return None
    tree = ast.parse(source)
    compiled = compile(source, name, "exec", flags=flags, dont_inherit=True)
    return SourceFile(
        codes=frozenset(nested_codes(compiled)), functions=tuple(_definitions(tree, class_name=""))
    )


def nested_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and those inside, at any depth."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested_codes(constant)


def _definitions(node: ast.AST, class_name: str) -> Iterator[Definition]:
    if isinstance(node, FunctionNode):
        yield Definition(node, class_name)
    if isinstance(node, ast.ClassDef):
        class_name = node.name
    for child in ast.iter_child_nodes(node):
        yield from _definitions(child, class_name)


def source_of(code: types.CodeType, functions: Iterable[Definition]) -> Definition | None:
    """Return the definition that a code object is from, or None if several may be."""
    if code.co_name == _LAMBDA:
        return _source_of_lambda(code, functions)
    found = [
        each
        for each in functions
        if not isinstance(each.node, ast.Lambda)
        and each.node.name == code.co_name
        and _first_line(each.node) == code.co_firstlineno
    ]
    return found[0] if len(found) == 1 else None


def _first_line(node: Any) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def _source_of_lambda(code: types.CodeType, functions: Iterable[Definition]) -> Definition | None:
    """Return the smallest lambda expression that all instructions of a code are from."""
    positions = [each for each in code.co_positions() if each[3]]  # Those with a last column.
    starts = [(line, column) for line, _, column, _ in positions]
    ends = [(line, column) for _, line, _, column in positions]
    found: list[tuple[int, Definition]] = []
    for each in functions:
        if isinstance(each.node, ast.Lambda) and positions:
            body: Any = each.node.body
            start = (body.lineno, body.col_offset)
            end = (body.end_lineno, body.end_col_offset)
            if start <= min(starts) and max(ends) <= end:
                found.append((sum(1 for _ in ast.walk(body)), each))
    return min(found, key=lambda pair: pair[0])[1] if found else None
