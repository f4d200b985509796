"""Simulated errors of the verdict: how often two models are told apart, or called as good, wrongly.

Methods that were tried and left are simulated beside those in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.stats

from keras_prelu.diagnostics.comparison import MARGIN, compare_scores
from keras_prelu.diagnostics.paired_intervals import ERROR

__all__ = ["SIZES", "Simulated", "simulate", "simulations"]

SIZES = (1, 2, 5, 10, 20, 50, 100, 300, 1000)

Draw = Callable[[np.random.Generator, int], np.ndarray]
Interval = tuple[float, float]

_IN_USE = "in use"
_SIZES_OF_OTHERS = (5, 20, 100, 300)
_RESAMPLES = 299


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """How often a method gives each verdict.

    Attributes:
        scores: "accuracy" or "loss".
        shape: How the gains are distributed.
        truth: "equal", "worse by 5 points", "worse by the margin", "better".
        method: "in use", or one that was left.
        samples: Number of samples.
        trials: Number of draws.
        better: Share of the draws with the verdict "better".
        worse: Share of those with "worse".
        as_good: Share of those with "as good".
    """

    scores: str
    shape: str
    truth: str
    method: str
    samples: int
    trials: int
    better: float
    worse: float
    as_good: float

    @property
    def wrong(self) -> float:
        """The share of verdicts that contradict the truth."""
        if self.truth == "equal":
            return self.better + self.worse
        if self.truth == "better":
            return self.worse + self.as_good
        return self.better + self.as_good


def simulations(trials: int, sizes: tuple[int, ...] = SIZES) -> Iterator[Simulated]:
    """Simulate each shape and truth at each number of samples.

    The methods that were left get a quarter of the trials, on equal models and some sizes.
    """
    for scores, cases in (("accuracy", _outcome_cases()), ("loss", _loss_cases())):
        for shape, truth, draw in cases:
            for samples in sizes:
                yield simulate(scores, shape, truth, draw, _IN_USE, samples, trials)
                if truth != "equal" or samples not in _SIZES_OF_OTHERS:
                    continue
                for method in _METHODS[scores]:
                    if method != _IN_USE:
                        few = max(1, trials // 4)
                        yield simulate(scores, shape, truth, draw, method, samples, few)


def simulate(
    scores: str, shape: str, truth: str, draw: Draw, method: str, samples: int, trials: int
) -> Simulated:
    """Draw gains many times, and count the verdicts of a method."""
    rng = np.random.default_rng([samples, *shape.encode(), *truth.encode()])
    verdict = _METHODS[scores][method]
    verdicts = [verdict(draw(rng, samples)) for _ in range(trials)]
    better, worse, as_good = (
        verdicts.count(name) / trials for name in ("better", "worse", "as good")
    )
    return Simulated(
        scores=scores,
        shape=shape,
        truth=truth,
        method=method,
        samples=samples,
        trials=trials,
        better=better,
        worse=worse,
        as_good=as_good,
    )


def _outcome_cases() -> Iterator[tuple[str, str, Draw]]:
    """Yield gains of -1, 0 and 1 by the share of samples that only one of the models gets right."""
    for discordant in (0.02, 0.1, 0.4):
        shape = f"{discordant:.0%} discordant"
        yield shape, "equal", _outcomes(discordant, 0.0)
        yield shape, "worse by the margin", _outcomes(discordant, -MARGIN)
        if discordant > 0.05:
            yield shape, "worse by 5 points", _outcomes(discordant, -0.05)
    yield "1% discordant", "worse by the margin", _outcomes(MARGIN, -MARGIN)
    yield "5% discordant", "worse by 5 points", _outcomes(0.05, -0.05)


def _outcomes(discordant: float, gain: float) -> Draw:
    shares = np.array([(discordant - gain) / 2, 1 - discordant, (discordant + gain) / 2])

    def draw(rng: np.random.Generator, samples: int) -> np.ndarray:
        only_b, same, only_a = rng.multinomial(samples, shares)
        return np.repeat([-1.0, 0.0, 1.0], [only_b, same, only_a])

    return draw


def _loss_cases() -> Iterator[tuple[str, str, Draw]]:
    for shape, draw in _SHAPES.items():
        yield shape, "equal", draw
    for shape in ("normal", "lognormal, σ = 1"):
        yield shape, "better", _shifted(_SHAPES[shape], 0.5)
    for shape, draw in _SMALL_SHAPES.items():
        yield shape, "worse by the margin", draw


def _shifted(draw: Draw, gain: float) -> Draw:
    """Shift the gains; a shape's own zeros move with them."""
    return lambda rng, samples: draw(rng, samples) + gain


def _lognormal(sigma: float) -> Draw:
    mean = np.exp(sigma**2 / 2)
    return lambda rng, samples: rng.lognormal(0.0, sigma, samples) - mean


def _mixed_with_zeros(share: float, draw: Draw) -> Draw:
    """Return gains of which only a share differs from 0."""

    def mixed(rng: np.random.Generator, samples: int) -> np.ndarray:
        return np.where(rng.random(samples) < share, draw(rng, samples), 0.0)

    return mixed


_SHAPES: dict[str, Draw] = {
    "normal": lambda rng, samples: rng.normal(size=samples),
    "Student's t, 3 degrees": lambda rng, samples: rng.standard_t(3, size=samples),
    "exponential": lambda rng, samples: rng.exponential(1.0, samples) - 1.0,
    "lognormal, σ = 1": _lognormal(1.0),
    "lognormal, σ = 1.5": _lognormal(1.5),
    "lognormal, σ = 2": _lognormal(2.0),
    "nine in ten 0, else normal": _mixed_with_zeros(
        0.1, lambda rng, samples: rng.normal(size=samples)
    ),
    "nine in ten 0, else lognormal": _mixed_with_zeros(0.1, _lognormal(1.0)),
}
"""Distributions of gains with mean 0."""

_SMALL_SHAPES: dict[str, Draw] = {
    "small, normal": lambda rng, samples: 0.02 * rng.normal(size=samples) - MARGIN,
    "small, lognormal": lambda rng, samples: 0.02 * _lognormal(1.0)(rng, samples) - MARGIN,
    "one in a hundred lost": lambda rng, samples: -1.0 * (rng.random(samples) < MARGIN),
}
"""Distributions whose mean is worse by the margin, relative to a loss of 1."""


def _in_use(scores: str) -> Callable[[np.ndarray], str]:
    def verdict(gains: np.ndarray) -> str:
        if scores == "loss":
            # Losses of mean 1, so that the margin is that of the shapes.
            return compare_scores("loss", np.ones(len(gains)) - gains, np.ones(len(gains))).verdict
        return _outcome_verdict(len(gains), int(np.sum(gains > 0)), int(np.sum(gains < 0)))

    return verdict


@cache
def _outcome_verdict(samples: int, only_a: int, only_b: int) -> str:
    """Return the verdict on outcomes, computed once for the same counts."""
    a = np.repeat([1.0, 0.0, 1.0], [only_a, only_b, samples - only_a - only_b])
    b = np.repeat([0.0, 1.0, 1.0], [only_a, only_b, samples - only_a - only_b])
    return compare_scores("accuracy", a, b).verdict


def _by_interval(
    interval: Callable[[np.ndarray], Interval],
) -> Callable[[np.ndarray], str]:
    """Return the verdict that one 95 % interval gives."""

    def verdict(gains: np.ndarray) -> str:
        low, high = interval(gains)
        if low > 0 or high < 0:
            return "better" if low > 0 else "worse"
        return "as good" if low >= -MARGIN and high <= MARGIN else "can't tell"

    return verdict


def _percentile_bootstrap(gains: np.ndarray) -> Interval:
    """The method of version 0.1."""
    if len(gains) < 2 or np.ptp(gains) == 0:
        return float(gains[0]), float(gains[0])
    rng = np.random.default_rng(0)
    means = gains[rng.integers(0, len(gains), (_RESAMPLES, len(gains)))].mean(axis=1)
    low, high = np.quantile(means, (ERROR / 2, 1 - ERROR / 2))
    return float(low), float(high)


def _bootstrap_t(gains: np.ndarray) -> Interval:
    count = len(gains)
    if count < 2 or np.ptp(gains) == 0:
        return -np.inf, np.inf
    rng = np.random.default_rng(0)
    drawn = gains[rng.integers(0, count, (_RESAMPLES, count))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(count)
    # A sample of equal values has no t; it counts as infinitely far off.
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num((drawn.mean(axis=1) - gains.mean()) / errors, nan=0.0)
    low, high = np.quantile(t, (ERROR / 2, 1 - ERROR / 2))
    error = gains.std(ddof=1) / np.sqrt(count)
    return float(gains.mean() - high * error), float(gains.mean() - low * error)


def _student(gains: np.ndarray) -> Interval:
    if len(gains) < 2:
        return -np.inf, np.inf
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    margin = error * scipy.stats.t.ppf(1 - ERROR / 2, len(gains) - 1)
    return float(gains.mean() - margin), float(gains.mean() + margin)


def _student_and_wilcoxon(gains: np.ndarray) -> Interval:
    """Student's interval where Wilcoxon's signed ranks agree."""
    low, high = _student(gains)
    different = gains[gains != 0]
    if len(different) < 6 or scipy.stats.wilcoxon(different).pvalue >= ERROR:
        return min(low, 0.0), max(high, 0.0)
    return low, high


_METHODS: dict[str, dict[str, Callable[[np.ndarray], str]]] = {
    "accuracy": {
        _IN_USE: _in_use("accuracy"),
        "percentile bootstrap": _by_interval(_percentile_bootstrap),
    },
    "loss": {
        _IN_USE: _in_use("loss"),
        "percentile bootstrap": _by_interval(_percentile_bootstrap),
        "Student": _by_interval(_student),
        "bootstrap-t": _by_interval(_bootstrap_t),
        "Student and Wilcoxon": _by_interval(_student_and_wilcoxon),
    },
}
