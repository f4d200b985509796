"""Means, their spread over seeds, and confidence intervals, as numbers and as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

__all__ = ["interval", "quartiles", "short", "spread", "standard_error"]

Format = Callable[[float], str]


def spread(values: Sequence[float], pattern: Format) -> str:
    """Return "mean ± standard deviation", or one value alone, or "–" for none."""
    if not len(values):
        return "–"
    mean = pattern(float(np.mean(values)))
    if len(values) == 1:
        return mean
    # A sign that the pattern gives to means is not repeated for the deviation.
    return f"{mean} ± {pattern(float(np.std(values, ddof=1))).lstrip('+')}"


def short(value: float) -> str:
    """Return two significant digits of a number below 1, and two decimals of any other."""
    if not 0 < value < 1:
        return f"{value:.2f}"
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}"


def quartiles(median: float, low: float, high: float) -> str:
    """Return "median [lower quartile, upper quartile]"."""
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean; infinite for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else math.inf


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean (Student's t), of no width where all are equal."""
    if len(values) < 2:
        return -math.inf, math.inf
    margin = standard_error(values) * float(scipy.stats.t.ppf(0.975, len(values) - 1))
    mean = float(values.mean())
    return mean - margin, mean + margin
