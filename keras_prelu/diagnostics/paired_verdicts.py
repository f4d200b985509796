"""Verdicts on two models' scores on the same samples, and how many samples these would need."""

from __future__ import annotations

import math

import numpy as np
import scipy.stats

from keras_prelu.diagnostics.comparison_result import direction_of
from keras_prelu.diagnostics.needed_samples import needed_samples
from keras_prelu.diagnostics.paired_intervals import (
    ERROR,
    PairedIntervals,
    mean_intervals,
    outcomes_exclude,
    samples_for_equality,
)

__all__ = ["mcnemar", "needed_of_gains", "needed_of_outcomes", "paired_verdict"]


def paired_verdict(
    intervals: PairedIntervals,
    p_value: float | None,
    *,
    samples: int,
    negligible: float,
    margin: float,
) -> str | None:
    """Return "better", "worse", "as good", or None if the samples do not tell.

    Args:
        intervals: `PairedIntervals` of the gain.
        p_value: Float. That of McNemar's test, or None for other scores than outcomes.
        samples: Integer. The number of samples.
        negligible: Float. The gain that does not matter.
        margin: Float. The margin that it comes from, see `compare`.
    """
    # The loss of a model may be infinite, and no interval is then within it.
    is_within = math.isfinite(negligible) and (
        -negligible <= intervals.inner_low and intervals.inner_high <= negligible
    )
    is_equal = is_within and samples >= samples_for_equality(margin)
    direction = direction_of(intervals.low, intervals.high, p_value)
    return direction or ("as good" if is_equal else None)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact p-value of the hypothesis that neither model is better.

    Under this hypothesis, each of the samples that only one of the models gets right is equally
    likely to be right in either model.
    """
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def needed_of_outcomes(
    samples: int, only_a: int, only_b: int, *, negligible: float, margin: float
) -> tuple[int, str] | None:
    """Return `needed_samples` for outcomes at these rates.

    Of each number of samples, the tests are made that the ends of `outcome_intervals` invert, which
    is faster than finding the ends.

    Args:
        samples: Integer. The number of samples.
        only_a: Integer. The number of samples that only model a gets right.
        only_b: Integer. The number of samples that only model b gets right.
        negligible: Float. The gain that does not matter.
        margin: Float. The margin that it comes from.
    """

    def verdict_with(count: int) -> str | None:
        a = round(count * only_a / samples)
        b = min(round(count * only_b / samples), count - a)
        if mcnemar(a, b) < ERROR:
            if outcomes_exclude(count, a, b, 0.0, error=ERROR / 2):
                return "better"
            if outcomes_exclude(count, b, a, 0.0, error=ERROR / 2):
                return "worse"
        is_equal = count >= samples_for_equality(margin) and all(
            outcomes_exclude(count, *outcomes, -negligible, error=ERROR)
            for outcomes in ((a, b), (b, a))
        )
        return "as good" if is_equal else None

    return needed_samples(samples, verdict_with)


def needed_of_gains(
    gains: np.ndarray, *, negligible: float, margin: float
) -> tuple[int, str] | None:
    """Return `needed_samples` for gains of this mean, scatter and skewness.

    Args:
        gains: Array with the gain on each sample.
        negligible: Float. The gain that does not matter.
        margin: Float. The margin that it comes from.
    """
    if not np.all(np.isfinite(gains)):
        return None

    def verdict_with(count: int) -> str | None:
        intervals = mean_intervals(gains, samples=count)
        return paired_verdict(intervals, None, samples=count, negligible=negligible, margin=margin)

    return needed_samples(len(gains), verdict_with)
