"""The syntax of expressions that rectify, such as `x * (x > 0)` and `(x + abs(x)) / 2`.

They are read from their syntax trees alone. The tensor is a variable or an attribute, whose value
does not change within an expression.
"""

from __future__ import annotations

import ast

__all__ = [
    "compared_with_zero",
    "is_plain",
    "is_product",
    "is_zero_constant",
    "last_name",
    "number_of",
    "rectified_tensor",
]

_ABOVE = ("greater", "greater_equal", "gt", "ge")
_BELOW = ("less", "less_equal", "lt", "le")
_CASTS = ("astype", "cast", "double", "float", "half", "saturate_cast", "to", "type", "type_as")
"""Names of functions and methods that make numbers of a condition."""
_CONSTANTS = ("array", "as_tensor", "asarray", "cast", "constant", "convert_to_tensor", "tensor")
"""Names of functions of libraries that make a tensor of a number."""
_ABSOLUTE = ("abs", "absolute", "fabs")
_PRODUCTS = ("mul", "multiply")


def rectified_tensor(node: ast.expr) -> ast.expr | None:
    """Return what an expression rectifies, or None if it is no rectifier."""
    product = _factors(node)
    if product is not None:
        for tensor, mask in (product, product[::-1]):
            if is_plain(tensor) and _is_mask_of(mask, tensor):
                return tensor
    return _halved(node)


def is_product(node: ast.expr) -> bool:
    """Return whether what an expression rectifies is multiplied by a mask of it."""
    return _factors(node) is not None


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
        name = last_name(node.func)
        is_above = name in _ABOVE
        if not is_above and name not in _BELOW:
            return None
    else:
        return None
    if number_of(left) == 0:
        left, right, is_above = right, left, not is_above
    return (left, is_above) if number_of(right) == 0 and is_plain(left) else None


def number_of(node: ast.expr) -> float | None:
    """Return the number that an expression is, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = number_of(node.operand)
        return None if number is None else -number
    is_number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return float(node.value) if is_number else None  # type: ignore[attr-defined]


def is_zero_constant(node: ast.Call) -> bool:
    """Return whether a call makes a tensor of the number 0, as `tf.constant(0.0)` does."""
    if not isinstance(node.func, ast.Attribute) or not is_plain(node.func) or not node.args:
        return False
    if node.func.attr in _CONSTANTS:
        return number_of(node.args[0]) == 0
    is_scalar = isinstance(node.args[0], (ast.List, ast.Tuple)) and not node.args[0].elts
    return node.func.attr == "zeros" and (is_scalar or number_of(node.args[0]) == 1)


def is_plain(node: ast.expr) -> bool:
    """Return whether an expression is a variable or an attribute of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def last_name(node: ast.expr) -> str:
    """Return the name of a function without that of its module, or ""."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _factors(node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """Return the factors of a product of two that is no half of something, or None."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        factors = (node.left, node.right)
    elif isinstance(node, ast.Call) and last_name(node.func) in _PRODUCTS and not node.keywords:
        if len(node.args) != 2:
            return None
        factors = (node.args[0], node.args[1])
    else:
        return None
    return None if any(number_of(factor) is not None for factor in factors) else factors


def _is_mask_of(mask: ast.expr, tensor: ast.expr) -> bool:
    """Return whether an expression is 1 where a tensor is positive, and 0 elsewhere."""
    compared = compared_with_zero(mask)
    if compared is not None:
        return compared[1] and _are_equal(compared[0], tensor)
    if not isinstance(mask, ast.Call) or last_name(mask.func) not in _CASTS:
        return False
    # `keras.ops.cast(x > 0, dtype)`, or a method of the condition: `(x > 0).astype(dtype)`.
    candidates = mask.args[:1]
    if isinstance(mask.func, ast.Attribute):
        candidates = [*candidates, mask.func.value]
    return any(
        _is_mask_of(each, tensor) for each in candidates if compared_with_zero(each) is not None
    )


def _halved(node: ast.expr) -> ast.expr | None:
    """Return the tensor of `(x + abs(x)) / 2` or `0.5 * (x + abs(x))`, or None."""
    if not isinstance(node, ast.BinOp):
        return None
    if isinstance(node.op, ast.Div) and number_of(node.right) == 2:
        return _summed_with_its_size(node.left)
    if isinstance(node.op, ast.Mult):
        for factor, other in ((node.left, node.right), (node.right, node.left)):
            if number_of(factor) == 0.5:
                return _summed_with_its_size(other)
    return None


def _summed_with_its_size(node: ast.expr) -> ast.expr | None:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add):
        return None
    for tensor, size in ((node.left, node.right), (node.right, node.left)):
        if is_plain(tensor) and isinstance(size, ast.Call) and last_name(size.func) in _ABSOLUTE:
            is_method = isinstance(size.func, ast.Attribute) and not size.args
            of = [size.func.value] if is_method else size.args  # type: ignore[attr-defined]
            if len(of) == 1 and _are_equal(of[0], tensor):
                return tensor
    return None


def _are_equal(node: ast.expr, other: ast.expr) -> bool:
    return ast.dump(node) == ast.dump(other)
