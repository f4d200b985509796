"""Rectifiers that several operations of a graph compute together.

| written as | in Python |
|---|---|
| the larger of a tensor and zeros | `ops.maximum(x, ops.zeros_like(x))` |
| a selection | `ops.where(x > 0, x, 0)`, `ops.where(x > 0, x, 0.1 * x)` |
| a product with a mask | `x * ops.cast(x > 0, x.dtype)`, `x * (x > 0)` |
| half the sum with the absolute value | `(x + ops.abs(x)) / 2`, `0.5 * (x + ops.abs(x))` |

The last of the operations is the rectifier's call. What it rectifies need not be one of its
arguments: the operations before it are followed back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_prelu.backend.keras_internals import producing_node
from keras_prelu.graph.backend_functions import BackendFunction
from keras_prelu.graph.rectifiers import Rectifier, number_of_constant

__all__ = ["WrittenRectifier", "written_rectifier"]

_LARGEST_SLOPE = 1.0
_OF_BACKENDS = {
    "abs": "Absolute",
    "absolute": "Absolute",
    "add": "Add",
    "astype": "Cast",
    "cast": "Cast",
    "divide": "TrueDivide",
    "ge": "GreaterEqual",
    "greater": "Greater",
    "greater_equal": "GreaterEqual",
    "gt": "Greater",
    "le": "LessEqual",
    "less": "Less",
    "less_equal": "LessEqual",
    "lt": "Less",
    "maximum": "Maximum",
    "mul": "Multiply",
    "multiply": "Multiply",
    "true_divide": "TrueDivide",
    "where": "Where",
    "where_v2": "Where",
    "zeros_like": "ZerosLike",
    "zeros_like_v2": "ZerosLike",
}
"""Names of functions of the backends, by those of Keras's operations that compute the same."""
_ABOVE = ("Greater", "GreaterEqual")
_BELOW = ("Less", "LessEqual")


class WrittenRectifier(NamedTuple):
    """A rectifier that several operations compute.

    Attributes:
        rectifier: `Rectifier`.
        tensor: Symbolic tensor. What it rectifies.
    """

    rectifier: Rectifier
    tensor: Any


def written_rectifier(
    operation: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> WrittenRectifier | None:
    """Return the rectifier that a call in a graph is the last operation of, or None.

    Args:
        operation: Layer or op. What is called.
        args: Sequence. The positional arguments of the call, with symbolic tensors.
        kwargs: Dict. The keyword arguments.
    """
    rule = _RULES.get(_name(operation))
    if rule is None:
        return None
    found = rule(*(*args, *kwargs.values()))
    if found is None:
        return None
    slope, tensor = found
    return WrittenRectifier(Rectifier("op", slope), tensor)


def _maximum(first: Any = None, second: Any = None, *others: Any) -> tuple[float, Any] | None:
    for tensor, zeros in ((first, second), (second, first)):
        if _is_tensor(tensor) and _is_zero(zeros, tensor) and _is_tensor(zeros):
            return 0.0, tensor
    return None


def _where(
    condition: Any = None, chosen: Any = None, other: Any = None, *others: Any
) -> tuple[float, Any] | None:
    compared = _compared_with_zero(condition)
    if compared is None:
        return None
    tensor, is_above = compared
    positive, negative = (chosen, other) if is_above else (other, chosen)
    slope = _slope(negative, tensor)
    return None if positive is not tensor or slope is None else (slope, tensor)


def _product(first: Any = None, second: Any = None, *others: Any) -> tuple[float, Any] | None:
    for tensor, mask in ((first, second), (second, first)):
        if _name_of(mask) == "Cast":
            mask = producing_node(mask).args[0]  # type: ignore[union-attr]
        compared = _compared_with_zero(mask)
        if compared is not None and compared[1] and compared[0] is tensor:
            return 0.0, tensor
        if number_of_constant(mask) == 0.5:
            return _summed_with_its_size(tensor)
    return None


def _quotient(first: Any = None, second: Any = None, *others: Any) -> tuple[float, Any] | None:
    return _summed_with_its_size(first) if number_of_constant(second) == 2 else None


_RULES: dict[str, Callable[..., tuple[float, Any] | None]] = {
    "Divide": _quotient,
    "Maximum": _maximum,
    "Multiply": _product,
    "TrueDivide": _quotient,
    "Where": _where,
}


def _summed_with_its_size(tensor: Any) -> tuple[float, Any] | None:
    if _name_of(tensor) != "Add":
        return None
    first, second = _arguments_of(tensor)[:2]
    for summed, size in ((first, second), (second, first)):
        if _name_of(size) in ("Abs", "Absolute") and _arguments_of(size)[0] is summed:
            return 0.0, summed
    return None


def _compared_with_zero(condition: Any) -> tuple[Any, bool] | None:
    """Return what a condition compares with 0, and whether it has to be above; or None."""
    name = _name_of(condition)
    if name not in (*_ABOVE, *_BELOW):
        return None
    left, right = _arguments_of(condition)[:2]
    is_above = name in _ABOVE
    if number_of_constant(left) == 0:
        left, right, is_above = right, left, not is_above
    return (left, is_above) if _is_tensor(left) and number_of_constant(right) == 0 else None


def _slope(value: Any, tensor: Any) -> float | None:
    """Return the factor of a tensor in a multiple of it, or None."""
    if _is_zero(value, tensor):
        return 0.0
    if _name_of(value) != "Multiply":
        return None
    first, second = _arguments_of(value)[:2]
    for factor, other in ((first, second), (second, first)):
        slope = number_of_constant(factor)
        if slope is not None and other is tensor and 0 <= slope < _LARGEST_SLOPE:
            return slope
    return None


def _is_zero(value: Any, tensor: Any) -> bool:
    """Return whether a value is 0, or zeros of the shape of a tensor."""
    if not _is_tensor(value):
        return number_of_constant(value) == 0
    return _name_of(value) == "ZerosLike" and tuple(value.shape) == tuple(tensor.shape)


def _is_tensor(value: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(value))


def _name_of(tensor: Any) -> str:
    """Return the name of the operation that created a symbolic tensor, or ""."""
    node = producing_node(tensor) if _is_tensor(tensor) else None
    return "" if node is None else _name(node.operation)


def _arguments_of(tensor: Any) -> list[Any]:
    node = producing_node(tensor)
    assert node is not None
    return [*node.args, *node.kwargs.values(), None, None]


def _name(operation: Any) -> str:
    if isinstance(operation, BackendFunction):
        return _OF_BACKENDS.get(operation.function_name, "")
    is_op = not isinstance(operation, keras.layers.Layer)
    return (
        type(operation).__name__
        if is_op and type(operation).__module__.startswith("keras.")
        else ""
    )
