"""Rectifiers that are written as a selection: `where(x > 0, x, 0)`.

The condition is a tensor of its own, which says nothing of where it comes from. So the source of
the call decides: the condition compares with 0 the tensor that is selected where it is positive.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_prelu.custom_layers.rectifier_functions import RectifierUse
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.typing import Tensor

__all__ = ["compared_with_zero", "is_maximum_with_zero", "is_selection", "selection_use"]

_NUMBER = re.compile(r"@\d+/\d+$")
"""What tells calls with the same text apart."""
_ABOVE = ("greater", "greater_equal", "gt", "ge")
_BELOW = ("less", "less_equal", "lt", "le")
_LARGEST_SLOPE = 1.0


@dataclass(frozen=True)
class _Selection:
    """Attributes:
    position: Integer. The position of the tensor among the arguments.
    slope: Float. The factor where it is negative.
    """

    position: int
    slope: float


def selection_use(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], text: str
) -> RectifierUse | None:
    """Return what a call applies if it is a rectifier that is written as a selection, or None.

    Args:
        function: Callable. What is called.
        args: Sequence. Its positional arguments.
        kwargs: Mapping. Its keyword arguments.
        text: String. The call as source code, see `CallSite`.
    """
    if getattr(function, "__name__", "") != "where" or len(args) != 3 or kwargs:
        return None
    selection = _parsed(_NUMBER.sub("", text))
    if selection is None:
        return None
    is_first, slope = selection.position == 1, selection.slope

    def apply(tensor: Tensor) -> Tensor:
        other = slope * tensor
        if is_first:
            return function(tensor > 0, tensor, other)
        return function(tensor < 0, other, tensor)

    return RectifierUse(
        rectifier=Rectifier("code", slope), tensor=args[selection.position], apply=apply
    )


def is_selection(text: str) -> bool:
    """Return whether the source of a call of `where` is a rectifier."""
    return _parsed(_NUMBER.sub("", text)) is not None


def is_maximum_with_zero(text: str) -> bool:
    """Return whether the source of a call of `maximum` is a rectifier."""
    call = ast.parse(_NUMBER.sub("", text), mode="eval").body
    return isinstance(call, ast.Call) and any(_number(each) == 0 for each in call.args)


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> _Selection | None:
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or len(call.args) != 3 or call.keywords:
        return None
    compared = compared_with_zero(call.args[0])
    if compared is None:
        return None
    tensor, is_above = compared
    position = 1 if is_above else 2
    slope = _slope(call.args[3 - position], tensor)
    if ast.dump(call.args[position]) != ast.dump(tensor) or slope is None:
        return None
    return _Selection(position=position, slope=slope)


def compared_with_zero(node: ast.expr) -> tuple[ast.expr, bool] | None:
    """Return what an expression compares with 0, and whether it has to be above; or None.

    It has to be a variable or an attribute, whose value does not change within a call.
    """
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = node.left, node.comparators[0]
        is_above = isinstance(node.ops[0], (ast.Gt, ast.GtE))
        if not is_above and not isinstance(node.ops[0], (ast.Lt, ast.LtE)):
            return None
    elif isinstance(node, ast.Call) and len(node.args) == 2 and not node.keywords:
        left, right = node.args
        name = _last_name(node.func)
        is_above = name in _ABOVE
        if not is_above and name not in _BELOW:
            return None
    else:
        return None
    if _number(left) == 0:
        left, right, is_above = right, left, not is_above
    return (left, is_above) if _number(right) == 0 and _is_plain(left) else None


def _slope(node: ast.expr, tensor: ast.expr) -> float | None:
    """Return the factor of a tensor in an expression that is a multiple of it, or None."""
    number = _number(node)
    if number is not None:
        return 0.0 if number == 0 else None
    if isinstance(node, ast.Call):
        is_zero = _last_name(node.func) == "zeros_like" and len(node.args) == 1
        return 0.0 if is_zero and ast.dump(node.args[0]) == ast.dump(tensor) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for factor, other in ((node.left, node.right), (node.right, node.left)):
            slope = _number(factor)
            if slope is not None and ast.dump(other) == ast.dump(tensor):
                return slope if 0 <= slope < _LARGEST_SLOPE else None
    return None


def _number(node: ast.expr) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _number(node.operand)
        return None if number is None else -number
    is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return float(node.value) if is_number else None  # type: ignore[attr-defined]


def _is_plain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
