"""Ranges of values: what a rectifier guarantees of the tensors that are computed from it.

Every tensor has two intervals: `before`, which contains its values in the model as it is, and
`after`, which contains them once the rectifiers that it depends on have become PReLU. Where the two
differ, the model may rely on something that a conversion takes away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

__all__ = ["ANY", "NON_NEGATIVE", "UNIT", "Interval", "ValueRange", "combined", "fixed", "hull_of"]


class Interval(NamedTuple):
    """A closed interval of numbers, which may be unbounded.

    Attributes:
        low: Float. Smallest value, or minus infinity.
        high: Float. Largest value, or infinity.
    """

    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def width(self) -> float:
        return self.high - self.low

    def plus(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def minus(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def times(self, other: Interval) -> Interval:
        corners = [_product(a, b) for a in self for b in other]
        return Interval(min(corners), max(corners))

    def over(self, other: Interval) -> Interval:
        if other.low <= 0 <= other.high:
            is_positive = other.low == 0 < other.high
            signs = Interval(min(self.low, 0.0), max(self.high, 0.0))
            return signs.times(NON_NEGATIVE) if is_positive else ANY
        return self.times(Interval(_reciprocal(other.high), _reciprocal(other.low)))

    def hull(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), max(self.high, other.high))

    def largest(self, other: Interval) -> Interval:
        return Interval(max(self.low, other.low), max(self.high, other.high))

    def smallest(self, other: Interval) -> Interval:
        return Interval(min(self.low, other.low), min(self.high, other.high))

    def sums(self) -> Interval:
        """Return the interval of the sums of any number of values."""
        return Interval(
            0.0 if self.low >= 0 else -math.inf,
            0.0 if self.high <= 0 else math.inf,
        )

    def signs(self) -> Interval:
        """Return the widest interval with the same signs."""
        return self.sums()

    def squares(self) -> Interval:
        bounds = (self.low * self.low, self.high * self.high)
        return Interval(0.0 if self.low <= 0 <= self.high else min(bounds), max(bounds))

    def mapped(self, increasing: Callable[[float], float]) -> Interval:
        """Return the interval of the values of an increasing function."""
        return Interval(increasing(self.low), increasing(self.high))


ANY = Interval(-math.inf, math.inf)
NON_NEGATIVE = Interval(0.0, math.inf)
UNIT = Interval(0.0, 1.0)


@dataclass(frozen=True)
class ValueRange:
    """What is known of the values of a tensor.

    Attributes:
        before: `Interval`. Contains the values in the model as it is.
        after: `Interval`. Contains the values once the sites have become PReLU.
        sites: Frozen set. Keys of the rectifiers whose range the tensor inherits. A sum with an
            unknown tensor inherits it as well: its values may be non-negative for all the data that
            the model meets.
        clamped: Boolean. Whether values that only a conversion brings about are cut off at a
            constant, as by `maximum(x, 1e-7)`.
        joined: Boolean. Whether some of the values, as one of two concatenated tensors, have a
            range that the conversion takes away, although all together do not.
    """

    before: Interval
    after: Interval
    sites: frozenset[Any] = frozenset()
    clamped: bool = False
    joined: bool = False

    @property
    def loses_sign(self) -> bool:
        """Whether the sign of the values is known before the conversion only."""
        before, after = self.before, self.after
        return (before.low >= 0 > after.low) or (before.high <= 0 < after.high)

    @property
    def loses_bound(self) -> bool:
        """Whether the values have a bound that they don't have after the conversion."""
        before, after = self.before, self.after
        return any(
            math.isfinite(bound) and not math.isfinite(later)
            for bound, later in zip(before, after, strict=True)
        )

    @property
    def is_kept(self) -> bool:
        """Whether the values lie between two bounds, between which they stay."""
        before, after = self.before, self.after
        return before.is_bounded and before.low <= after.low and after.high <= before.high

    @property
    def loses_range(self) -> bool:
        """Whether the conversion takes a range away from the values, or from some of them."""
        return self.loses_sign or self.is_gate_of_sites or self.joined

    @property
    def is_gate_of_sites(self) -> bool:
        """Whether the values lie between two bounds because of the sites."""
        return bool(self.sites) and self.before.is_bounded and self.loses_bound

    def mapped(self, function: Callable[[Interval], Interval]) -> ValueRange:
        """Return the range of a function of the values, of which it keeps the meaning."""
        return replace(self, before=function(self.before), after=function(self.after))

    def absorbed(self, function: Callable[[Interval], Interval]) -> ValueRange:
        """Return the range of a function such as the square, which may not depend on the sites."""
        mapped = self.mapped(function)
        return fixed(mapped.before) if mapped.before == mapped.after else mapped


def fixed(interval: Interval) -> ValueRange:
    """Return the range of values that lie in an interval whether or not sites are converted."""
    return ValueRange(before=interval, after=interval)


def combined(
    function: Callable[[Interval, Interval], Interval], first: ValueRange, second: ValueRange
) -> ValueRange:
    """Return the range of a function of two tensors."""
    return ValueRange(
        before=function(first.before, second.before),
        after=function(first.after, second.after),
        sites=first.sites | second.sites,
        clamped=first.clamped or second.clamped,
        joined=first.joined or second.joined,
    )


def hull_of(ranges: Iterable[ValueRange]) -> ValueRange:
    """Return the range of values that each come from one of several tensors."""
    items: Sequence[ValueRange] = tuple(ranges)
    if not items:
        return fixed(ANY)
    joined = items[0]
    for item in items[1:]:
        joined = combined(Interval.hull, joined, item)
    return joined


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _reciprocal(value: float) -> float:
    return 0.0 if math.isinf(value) else 1.0 / value
