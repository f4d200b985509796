"""The rules of exponentials, powers and products, which may grow beyond all bounds."""

from __future__ import annotations

import math
from collections.abc import Callable

from keras_prelu.graph.range_application import (
    Application,
    growth,
    object_to_division,
    object_to_domain,
    object_to_growth,
)
from keras_prelu.graph.range_rules import Rule, kept, of_unknown_operation
from keras_prelu.graph.value_ranges import (
    ANY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    ValueRange,
    fixed,
    hull_of,
)

__all__ = ["exponential", "exponential_of", "log_of_sum", "product", "to_a_power"]

_EXPONENT = "0 is raised to the power of its output, which must not be negative"
_SYMMETRIC_UNIT = Interval(-1.0, 1.0)


def exponential_of(value: float) -> float:
    """Return e to the power of a number, or infinity."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def exponential(function: Callable[[float], float]) -> Rule:
    """Return the rule of an increasing function that grows as the exponential function does."""

    def carried(application: Application) -> ValueRange:
        object_to_growth(application, application.first)
        return application.first.mapped(lambda interval: interval.mapped(function))

    return carried


def log_of_sum(application: Application) -> ValueRange:
    """Return the range of the logarithm of a sum of exponentials, a smooth maximum."""
    numbers = hull_of(values for _, values in application.operands())
    return numbers.mapped(lambda interval: Interval(interval.low, math.inf))


def to_a_power(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) != 2:
        return of_unknown_operation(application)
    (_, base), (_, exponent) = operands
    power = exponent.before.low
    if exponent.sites and base.before.low > 0 and not base.sites:
        logarithms = exponent.mapped(_logarithms(base.before).times)
        object_to_growth(application, logarithms)
        return logarithms.mapped(lambda interval: interval.mapped(exponential_of))
    if exponent.sites and exponent.loses_sign:
        application.object_to(exponent.sites, _EXPONENT)
    if exponent.sites or exponent.before.width != 0 or power != int(power):
        object_to_domain(application, base, 0.0, math.inf)
        return fixed(NON_NEGATIVE)
    if power < 0:
        object_to_division(application, base)
    if power == 2:
        return base.absorbed(Interval.squares)
    return fixed(NON_NEGATIVE) if power % 2 == 0 else base.mapped(Interval.signs)


def _logarithms(positive: Interval) -> Interval:
    return positive.mapped(math.log)


def product(application: Application) -> ValueRange:
    """Return the range of products of any number of factors."""
    factors = kept(application)
    if _within(factors.before, _SYMMETRIC_UNIT) and not _within(factors.after, _SYMMETRIC_UNIT):
        application.object_to(factors.sites, growth(application))
    return factors.mapped(_products)


def _products(factor: Interval) -> Interval:
    if factor.low < 0:
        return _SYMMETRIC_UNIT if _within(factor, _SYMMETRIC_UNIT) else ANY
    if factor.high <= 1:
        return UNIT
    return Interval(1.0, math.inf) if factor.low >= 1 else NON_NEGATIVE


def _within(inner: Interval, outer: Interval) -> bool:
    return outer.low <= inner.low and inner.high <= outer.high
