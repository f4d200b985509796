"""Rectifiers that are written as a selection, `where(x > 0, x, 0)`, or as another expression.

The condition is a tensor of its own, which says nothing of where it comes from. So the source of
the call decides: the condition compares with 0 the tensor that is selected where it is positive.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_prelu.custom_layers.rectifier_functions import RectifierUse, is_tensor
from keras_prelu.custom_layers.rectifying_syntax import (
    compared_with_zero,
    is_plain,
    is_product,
    is_zero_constant,
    last_name,
    number_of,
)
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.typing import Tensor

__all__ = [
    "expression_use",
    "is_largest_of_multiples",
    "is_maximum_with_zero",
    "is_selection",
    "selection_use",
]

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
    name = getattr(function, "__name__", "")
    if name in ("max", "maximum") and not kwargs:
        return _maximum_use(function, args, text)
    if name not in ("where", "where_v2") or len(args) != 3 or kwargs:
        return None
    selection = _parsed(_NUMBER.sub("", text))
    if selection is None:
        return None
    is_first, slope = selection.position == 1, selection.slope

    def apply(tensor: Tensor) -> Tensor:
        other = _multiple(slope, tensor)
        if is_first:
            return function(tensor > 0, tensor, other)
        return function(tensor < 0, other, tensor)

    return RectifierUse(
        rectifier=Rectifier("code", slope), tensor=args[selection.position], apply=apply
    )


def _maximum_use(function: Any, args: Sequence[Any], text: str) -> RectifierUse | None:
    """Return what `maximum(x, zeros_like(x))` or `maximum(x, 0.2 * x)` applies, or None."""
    found = _largest(_NUMBER.sub("", text))
    if found is None or len(args) != 2 or not all(map(is_tensor, args)):
        return None
    tensor, other = args[found.position], args[1 - found.position]
    is_number = math.prod(size or 0 for size in other.shape) == 1
    is_same = len(tensor.shape) == len(other.shape) or is_number
    dtypes = {keras.backend.standardize_dtype(each.dtype) for each in (tensor, other)}
    if not is_same or len(dtypes) > 1:
        return None
    return RectifierUse(
        rectifier=Rectifier("code", found.slope),
        tensor=tensor,
        apply=lambda tensor: function(tensor, _multiple(found.slope, tensor)),
    )


def _multiple(slope: float, tensor: Tensor) -> Tensor:
    """Return a multiple of a tensor, which is 0 for a slope of 0 also where the tensor is not
    finite."""
    return slope * tensor if slope else ops.zeros_like(tensor)


def expression_use(value: Any, text: str) -> RectifierUse | None:
    """Return what an expression applies to a value, or None if that is no tensor.

    Args:
        value: Any. The value of what `rectified_tensor` finds in the expression.
        text: String. The expression as source code, see `CallSite`.
    """
    if not is_tensor(value):
        return None
    node = ast.parse(_NUMBER.sub("", text), mode="eval").body
    apply = _multiplied if is_product(node) else _halved
    return RectifierUse(rectifier=Rectifier("code"), tensor=value, apply=apply)


def _multiplied(tensor: Tensor) -> Tensor:
    return tensor * ops.cast(tensor > 0, tensor.dtype)


def _halved(tensor: Tensor) -> Tensor:
    return (tensor + ops.abs(tensor)) / 2


def is_selection(text: str) -> bool:
    """Return whether the source of a call of `where` is a rectifier."""
    return _parsed(_NUMBER.sub("", text)) is not None


def is_maximum_with_zero(text: str) -> bool:
    """Return whether the source of a call of `maximum` is a rectifier."""
    text = _NUMBER.sub("", text)
    call = ast.parse(text, mode="eval").body
    has_zero = isinstance(call, ast.Call) and any(number_of(each) == 0 for each in call.args)
    return has_zero or is_largest_of_multiples(text)


def is_largest_of_multiples(text: str) -> bool:
    """Return whether the source of a call of `max` is a rectifier of two tensors."""
    return _largest(_NUMBER.sub("", text)) is not None


@functools.lru_cache(maxsize=1024)
def _largest(text: str) -> _Selection | None:
    """Return what a call of two arguments has beside its multiple, such as `zeros_like(x)`."""
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or len(call.args) != 2 or call.keywords:
        return None
    for position, (tensor, other) in enumerate((call.args, call.args[::-1])):
        # Zeros like another tensor may have another shape, to which the first one is broadcast.
        slope = None if number_of(other) is not None else _slope(other, tensor)
        if slope == 0 or (slope is not None and is_plain(tensor)):
            return _Selection(position=position, slope=slope)
    return None


def _is_zeros_like(node: ast.Call, tensor: ast.expr) -> bool:
    is_call = last_name(node.func) == "zeros_like"
    return is_call and [ast.dump(each) for each in node.args] == [ast.dump(tensor)]


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


def _slope(node: ast.expr, tensor: ast.expr) -> float | None:
    """Return the factor of a tensor in an expression that is a multiple of it, or None."""
    number = number_of(node)
    if number is not None:
        return 0.0 if number == 0 else None
    if isinstance(node, ast.Call):
        return 0.0 if _is_zeros_like(node, tensor) or is_zero_constant(node) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for factor, other in ((node.left, node.right), (node.right, node.left)):
            slope = number_of(factor)
            if slope is not None and ast.dump(other) == ast.dump(tensor):
                return slope if 0 <= slope < _LARGEST_SLOPE else None
    return None
