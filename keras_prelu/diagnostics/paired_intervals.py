"""Confidence intervals of the mean difference of two models' scores on the same samples.

`outcome_intervals` is for scores of 0 and 1, of which only the samples count that one of the models
gets right and the other wrong. `mean_intervals` is for all other scores. Which methods keep the
stated error, and which do not, was found by simulation (`python -m tools.study --part verdict`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import gammaln, ndtri, stdtrit, xlog1py, xlogy

__all__ = [
    "ERROR",
    "LEAST_DIFFERENT",
    "PairedIntervals",
    "mean_intervals",
    "outcome_intervals",
    "outcomes_exclude",
    "samples_for_equality",
]

ERROR = 0.05
"""The largest probability of a wrong statement that one model is better or worse; and that of a
wrong statement that it is as good."""
LEAST_DIFFERENT = 20
"""The least number of different scores from which `mean_intervals` concludes anything."""

# Cochran's rule asks for 25 squared skewnesses. With 20, the simulated errors stay below 5 %.
_SAMPLES_PER_SQUARED_SKEWNESS = 20.0
_MOST_EXACT = 100
"""The largest number of discordant samples whose tables are enumerated."""


@dataclass(frozen=True, kw_only=True)
class PairedIntervals:
    """Intervals of a mean gain.

    Attributes:
        low: Float. Lower end of the 95 % interval; minus infinity if the samples allow none.
        high: Float. Upper end of the 95 % interval.
        inner_low: Float. Lower end of the 90 % interval. The gain lies below it, and likewise above
            the upper end, with a probability of at most 5 %: the interval for "as good".
        inner_high: Float. Upper end of the 90 % interval.
        note: String. Why there is no interval; empty if there is one.
    """

    low: float
    high: float
    inner_low: float
    inner_high: float
    note: str = ""


def samples_for_equality(margin: float) -> float:
    """Return the least number of samples from which two models can be called as good.

    If a share `margin` of all samples were lost, fewer samples would show none of them with a
    probability above 5 %. For a margin of 1 % these are 299.
    """
    if not 0.0 < margin < 1.0:
        return 1.0 if margin >= 1.0 else math.inf
    return math.ceil(math.log(ERROR) / math.log1p(-margin))


def outcome_intervals(samples: int, only_a: int, only_b: int) -> PairedIntervals:
    """Return intervals of the difference of two proportions on the same samples.

    Each end inverts a one-sided test with Tango's score statistic. Its distribution is computed
    exactly, by enumerating all outcomes at the most likely share of discordant samples, for up to
    100 of them; it is taken as normal for more.

    Args:
        samples: Integer. The number of samples.
        only_a: Integer. The number of samples that only model a gets right.
        only_b: Integer. The number of samples that only model b gets right.

    References:
        Tango 1998, Statistics in Medicine 17, 891. Lloyd and Moldovan 2008, Statistics in
        Medicine 27, 3540 (exact tests at the estimated share of discordant samples).
    """
    return PairedIntervals(
        low=_lowest_difference(samples, only_a, only_b, ERROR / 2),
        high=-_lowest_difference(samples, only_b, only_a, ERROR / 2),
        inner_low=_lowest_difference(samples, only_a, only_b, ERROR),
        inner_high=-_lowest_difference(samples, only_b, only_a, ERROR),
    )


def outcomes_exclude(
    samples: int, only_a: int, only_b: int, difference: float, *, error: float
) -> bool:
    """Return whether the one-sided test rejects a difference as too low.

    That is whether the lower end of `outcome_intervals` lies above it, by a single test. Exchange
    the models and the sign of the difference for the upper end.

    Args:
        samples: Integer. The number of samples.
        only_a: Integer. The number of samples that only model a gets right.
        only_b: Integer. The number of samples that only model b gets right.
        difference: Float. The difference of the proportions of a and b.
        error: Float. The error of the test.
    """
    if difference <= -1.0:
        return True
    if only_a / samples - only_b / samples <= difference:
        return False
    if only_a + only_b > _MOST_EXACT:
        return bool(_score(samples, only_a, only_b, difference) > float(ndtri(1.0 - error)))
    return _tail_probability(samples, only_a, only_b, difference) <= error


def mean_intervals(
    gains: np.ndarray, error: float = ERROR, *, samples: int | None = None
) -> PairedIntervals:
    """Return intervals of the mean of gains of any distribution.

    Each interval encloses Student's and the one by Hall's transformation, which corrects for
    skewness; both for all gains and for those that are not 0, scaled by their share. No interval is
    given for fewer than 20 gains other than 0, and none where a few samples make up most of the
    sum: where the number of samples is below 20 times the squared skewness. Rarer and larger losses
    than any of the samples shows can't be excluded by any method.

    Args:
        gains: Array with the gain on each sample.
        error: Float. The error of the 95 % interval; smaller than 5 % if several intervals share
            it. Defaults to 0.05.
        samples: Integer. The intervals are those of so many samples with gains of this mean,
            scatter and skewness. Defaults to the number of gains.

    References:
        Hall 1992, Journal of the Royal Statistical Society B 54, 221. Cochran 1977, Sampling
        Techniques, section 2.15.
    """
    if not np.all(np.isfinite(gains)):
        return _no_interval("some scores are not finite")
    if not np.any(gains):
        return PairedIntervals(low=0.0, high=0.0, inner_low=0.0, inner_high=0.0)
    different = gains[gains != 0]
    times = 1.0 if samples is None else samples / len(gains)
    parts = [_Moments.of(gains, times), _Moments.of(different, times)]
    if parts[1].count < LEAST_DIFFERENT:
        return _no_interval(f"scores differ on fewer than {LEAST_DIFFERENT} samples")
    if any(part.is_dominated_by_few for part in parts):
        return _no_interval("a few samples make up most of the difference")
    share = len(different) / len(gains)
    low, high = _enclosing(parts, share, error / 2)
    inner_low, inner_high = _enclosing(parts, share, error)
    return PairedIntervals(low=low, high=high, inner_low=inner_low, inner_high=inner_high)


def _no_interval(note: str) -> PairedIntervals:
    return PairedIntervals(
        low=-math.inf, high=math.inf, inner_low=-math.inf, inner_high=math.inf, note=note
    )


def _skewness(values: np.ndarray) -> float:
    centered = values - values.mean()
    variance = float(np.mean(centered**2))
    # The differences of equal values are rounding errors, whose skewness means nothing.
    if variance <= (1e-12 * float(np.abs(values).max())) ** 2:
        return 0.0
    return float(np.mean(centered**3)) / variance**1.5


@dataclass(frozen=True)
class _Moments:
    """What the intervals of a mean depend on."""

    count: float
    mean: float
    deviation: float
    skewness: float

    @classmethod
    def of(cls, values: np.ndarray, times: float) -> _Moments:
        """Return the moments of values, each of which is there so many times."""
        count = times * len(values)
        # A single value, whose deviation isn't known, never comes to an interval.
        corrected = math.sqrt(count / max(count - 1.0, 1.0))
        return cls(count, float(values.mean()), float(values.std()) * corrected, _skewness(values))

    @property
    def is_dominated_by_few(self) -> bool:
        """Whether the sum depends on so few values that its distribution is far from normal."""
        return self.count < _SAMPLES_PER_SQUARED_SKEWNESS * self.skewness**2

    @property
    def standard_error(self) -> float:
        return self.deviation / math.sqrt(self.count)


def _enclosing(parts: Sequence[_Moments], share: float, error: float) -> tuple[float, float]:
    """Return the interval that encloses those by both methods, for all gains and the different
    ones, which are scaled by their share."""
    ends = [
        (scale * low, scale * high)
        for part, scale in zip(parts, (1.0, share), strict=True)
        for low, high in (_student(part, error), _hall(part, error))
    ]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _student(part: _Moments, error: float) -> tuple[float, float]:
    margin = part.standard_error * float(stdtrit(part.count - 1, 1.0 - error))
    return part.mean - margin, part.mean + margin


def _hall(part: _Moments, error: float) -> tuple[float, float]:
    """Return the interval in which Student's t is corrected for skewness by a cubic."""
    skewness = part.skewness / math.sqrt(part.count)
    if abs(skewness) < 1e-9:
        return _student(part, error)
    quantile = float(stdtrit(part.count - 1, 1.0 - error))

    def corrected(t: float) -> float:
        return 3.0 / skewness * (float(np.cbrt(1.0 + skewness * (t - skewness / 6.0))) - 1.0)

    return (
        part.mean - part.standard_error * corrected(quantile),
        part.mean - part.standard_error * corrected(-quantile),
    )


@lru_cache(maxsize=4096)
def _lowest_difference(samples: int, only_a: int, only_b: int, error: float) -> float:
    """Return the lowest difference that a one-sided test of this error does not reject.

    The asymptotic test brackets it, so that the exact one is evaluated near it only.
    """
    quantile = float(ndtri(1.0 - error))

    def asymptotic(difference: float) -> bool:
        return bool(_score(samples, only_a, only_b, difference) <= quantile)

    precision = min(1e-5, 1e-3 / samples)
    lowest = _bisected(asymptotic, -1.0, only_a / samples - only_b / samples, precision)
    if only_a + only_b > _MOST_EXACT:
        return lowest

    def exact(difference: float) -> bool:
        return _tail_probability(samples, only_a, only_b, difference) > error

    low = high = lowest
    step = 1.0 / samples
    while low > -1.0 and exact(low):
        low, step = max(-1.0, low - step), 2.0 * step
    step = 1.0 / samples
    while high < 1.0 and not exact(high):
        high, step = min(1.0, high + step), 2.0 * step
    return _bisected(exact, low, high, precision)


def _bisected(
    accepted: Callable[[float], bool], low: float, high: float, precision: float
) -> float:
    """Return where a test turns from rejecting at `low` to accepting at `high`."""
    if accepted(low):
        return low
    while high - low > precision:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if accepted(middle) else (middle, high)
    return low


def _score(samples: int, only_a: Any, only_b: Any, difference: float) -> Any:
    """Return Tango's statistic for a difference; larger values speak for a larger one."""
    share_b = _likely_share(samples, only_a, only_b, difference)
    variance = samples * (2.0 * share_b + difference * (1.0 - difference))
    excess = only_a - only_b - samples * difference
    # Without variance the outcome is certain: any excess beyond rounding excludes the difference.
    certain = variance <= 1e-12 * samples
    large = np.where(np.abs(excess) > 1e-9 * samples, 1e9 * np.sign(excess), 0.0)
    return np.where(certain, large, excess / np.sqrt(np.where(certain, 1.0, variance)))


def _likely_share(samples: int, only_a: Any, only_b: Any, difference: float) -> Any:
    """Return the most likely share of samples that only model b gets right, given a difference."""
    linear = (2 * samples - only_a + only_b) * difference - only_a - only_b
    constant = -only_b * difference * (1.0 - difference)
    root = np.sqrt(np.maximum(linear**2 - 8.0 * samples * constant, 0.0))
    return np.clip(
        (root - linear) / (4.0 * samples), max(0.0, -difference), (1.0 - difference) / 2.0
    )


def _tail_probability(samples: int, only_a: int, only_b: int, difference: float) -> float:
    """Return the probability of a statistic at least as large as the observed one.

    It is that at this difference and the most likely share of discordant samples.
    """
    share_b = float(_likely_share(samples, only_a, only_b, difference))
    share_a = max(0.0, share_b + difference)
    expected = samples * (share_a + share_b)
    reach = 5.0 * math.sqrt(expected) + 12.0
    first, last = max(0, int(expected - reach)), min(samples, int(expected + reach))
    counts = np.arange(last + 1)
    log_factorials = gammaln(counts + 1)
    discordant = np.arange(first, last + 1)
    same = samples - discordant
    log_of_discordant = (
        gammaln(samples + 1) - gammaln(same + 1) + xlog1py(same, -min(1.0, share_a + share_b))
    )
    losses = discordant[:, None] - counts
    possible = losses >= 0
    losses = np.where(possible, losses, 0)
    statistic = _score(samples, counts, losses, difference)
    observed = float(_score(samples, only_a, only_b, difference))
    extreme = possible & (statistic >= observed - 1e-9 * max(1.0, abs(observed)))
    log_of_wins = xlogy(counts, share_a) - log_factorials
    log_of_losses = xlogy(counts, share_b) - log_factorials
    log_probability = log_of_discordant[:, None] + log_of_wins + log_of_losses[losses]
    return float(np.sum(np.exp(log_probability), where=extreme))
