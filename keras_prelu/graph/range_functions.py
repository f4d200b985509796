"""The rules of functions that are applied to each number by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keras_prelu.graph import range_rules as rules
from keras_prelu.graph.backend_functions import BackendFunction
from keras_prelu.graph.functional import Call
from keras_prelu.graph.range_application import (
    Application,
    interval_of_constant,
    object_to_domain,
)
from keras_prelu.graph.range_rules import Rule, folded
from keras_prelu.graph.value_ranges import (
    ANY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    ValueRange,
    combined,
    fixed,
)

__all__ = [
    "absolute",
    "arccosine",
    "clipped",
    "increasing",
    "inverse_root",
    "largest",
    "norm",
    "normalized",
    "sign_kept",
    "smallest",
    "squared",
    "with_domain",
]


def increasing(function: Callable[[float], float]) -> Rule:
    def carried(application: Application) -> ValueRange:
        return application.first.mapped(lambda interval: interval.mapped(function))

    return carried


def with_domain(low: float, high: float, function: Callable[[float], float]) -> Rule:
    """Return the rule of an increasing function that is not defined for all numbers."""

    def carried(application: Application) -> ValueRange:
        values = application.first
        object_to_domain(application, values, low, high)

        def of(interval: Interval) -> Interval:
            inside = Interval(max(interval.low, low), max(low, min(interval.high, high)))
            return inside.mapped(function)

        return values.mapped(of)

    return carried


def arccosine(application: Application) -> ValueRange:
    right_angle = Interval(math.pi / 2, math.pi / 2)
    return with_domain(-1.0, 1.0, math.asin)(application).mapped(right_angle.minus)


def norm(application: Application) -> ValueRange:
    """Return the range of norms, of which that of order 0 counts the other numbers than zeros."""
    if getattr(application.call.operation, "ord", None) == 0:
        return rules.zeros_told_apart(application)
    return fixed(NON_NEGATIVE)


def inverse_root(application: Application) -> ValueRange:
    object_to_domain(application, application.first, 0.0, math.inf)
    return application.first.mapped(lambda interval: NON_NEGATIVE)


def sign_kept(application: Application) -> ValueRange:
    return rules.kept(application).mapped(Interval.signs)


def normalized(application: Application) -> ValueRange:
    """Return the range of vectors that are divided by their norms."""
    return application.first.mapped(lambda interval: interval.signs().times(UNIT))


def squared(application: Application) -> ValueRange:
    return application.first.absorbed(Interval.squares)


def absolute(application: Application) -> ValueRange:
    def size(interval: Interval) -> Interval:
        bounds = abs(interval.low), abs(interval.high)
        return Interval(0.0 if interval.low <= 0 <= interval.high else min(bounds), max(bounds))

    return application.first.absorbed(size)


def clipped(application: Application) -> ValueRange:
    low, high = map(_as_bound, _bounds(application.call))
    return _cut(application.first, fixed(low)).mapped(high.smallest)


def _as_bound(bound: Any) -> Interval:
    return interval_of_constant(bound) or ANY


def _bounds(call: Call) -> tuple[Any, Any]:
    """Return the smallest and the largest value that an operation leaves as they are."""
    if not isinstance(call.operation, BackendFunction):
        return call.operation.x_min, call.operation.x_max
    low, high = (*call.args[1:], None, None)[:2]
    by_name = {name.rpartition("_")[2]: bound for name, bound in call.kwargs.items()}
    return by_name.get("min", low), by_name.get("max", high)


def largest(application: Application) -> ValueRange:
    operands = application.operands()
    result = operands[0][1] if operands else fixed(ANY)
    for _, operand in operands[1:]:
        result = _cut(result, operand)
    return result


def _cut(first: ValueRange, second: ValueRange) -> ValueRange:
    """Return the range of the larger of two numbers."""
    result = combined(Interval.largest, first, second)
    constants = [item for item in (first, second) if not item.sites]
    is_cut = bool(result.sites) and any(item.before.low > -math.inf for item in constants)
    return replace(result, clamped=result.clamped or is_cut)


def smallest(application: Application) -> ValueRange:
    return folded(Interval.smallest, application.operands())
