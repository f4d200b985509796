"""The rules of functions that are applied to each number by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from keras_prelu.graph import range_rules as rules
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
    "clipped",
    "increasing",
    "inverse_root",
    "largest",
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
    operation = application.call.operation
    low, high = (
        interval_of_constant(getattr(operation, bound, None)) or ANY for bound in ("x_min", "x_max")
    )
    return _cut(application.first, fixed(low)).mapped(high.smallest)


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
