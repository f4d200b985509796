"""Comparison of two models over several trainings, paired by seed, and the record of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from keras_prelu.diagnostics.comparison import (
    MARGIN,
    Comparison,
    compare_scores,
)
from keras_prelu.diagnostics.verdict_wording import runs_sentence, verdict_text
from keras_prelu.training.fallbacks import Fallback

__all__ = ["LEAST_RUNS", "OverRuns", "Run", "RunComparison", "compare_runs"]

LEAST_RUNS = 3
"""The least number of runs that say how much results scatter over seeds."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Model a compared with model b over several trainings of each, paired by seed.

    Attributes:
        gains: Tuple of floats. The mean gain over samples in each run, in the order of the seeds.
        gain: Float. Their mean.
        low: Float. Lower end of the gain's 95 % interval over runs (Student's t); minus infinity
            with fewer than three runs.
        high: Float. Upper end of that interval.
        over_samples: `Comparison` of the scores on each sample, averaged over runs.
        verdict: String. "better" or "worse" if the interval over runs and the comparison over
            samples both say so; "as good" if the comparison over samples says so and the 90 %
            interval over runs lies within the margin; else "can't tell".
    """

    gains: tuple[float, ...]
    gain: float
    low: float
    high: float
    over_samples: Comparison
    verdict: str

    def sentence(self, a: str, b: str) -> str:
        """Return the verdict in words, with both intervals.

        Args:
            a: String. The name of model a in the sentence.
            b: String. The name of model b in the sentence.
        """
        runs, samples = len(self.gains), self.over_samples
        meaning = verdict_text(self.verdict, a, b, doubt=self._doubt())
        scatter = f"95 % interval over runs {self.low:+.4f} to {self.high:+.4f}"
        if runs < LEAST_RUNS:
            scatter = f"how runs scatter is not known from fewer than {LEAST_RUNS}"
        return runs_sentence(
            meaning,
            samples,
            gain=self.gain,
            over_runs=scatter,
            runs=runs,
            note=samples.note,
        )

    def _doubt(self) -> str:
        """Return what is not enough to tell: runs, test samples, or both."""
        samples, runs = self.over_samples, f"with {len(self.gains)} runs"
        if samples.verdict != "can't tell":
            return runs
        is_open = not any(
            _shown_by_runs(verdict, self.gains, samples.negligible)
            for verdict in ("better", "worse", "as good")
        )
        return f"{f'{runs} and' if is_open else 'with'} this much test data{samples.doubt}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of several runs of a fine-tuning.

    Attributes:
        seed: Int. Its seed.
        selection_loss: Float. The loss on the selection samples of the weights that were kept.
        score: Float. Accuracy or loss of the model on the validation samples.
        control_score: Float. That of the control, or None without one.
        prepared_control_score: Float. That of the control that is prepared alike, or None without
            one.
        fallbacks: Tuple of `Fallback`. The trainings that diverged.
    """

    seed: int
    selection_loss: float
    score: float
    control_score: float | None
    prepared_control_score: float | None
    fallbacks: tuple[Fallback, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OverRuns:
    """Several runs of a fine-tuning, which differ in their seeds alone.

    Attributes:
        runs: Tuple of `Run`.
        chosen: Int. The seed of the run with the lowest loss on the selection samples, whose models
            are the result.
        comparison: `RunComparison` of the model with the control, or None without controls.
        prepared_comparison: `RunComparison` with the control that is prepared alike, or None.
    """

    runs: tuple[Run, ...]
    chosen: int
    comparison: RunComparison | None
    prepared_comparison: RunComparison | None


def compare_runs(
    metric: str,
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    *,
    margin: float = MARGIN,
    direction: int | None = None,
    samples: int | None = None,
) -> RunComparison:
    """Compare two models by the scores of several trainings of each on the same samples.

    A single run's interval over samples says nothing of another training of the same models. The
    runs' own gains do: their mean has Student's t interval. It covers seeds, that is the order of
    the data and all random draws, and no other samples; these the comparison of averaged scores
    covers. A model is called better only if both say so.

    Args:
        metric: String. "accuracy" or "loss", or a metric that was chosen.
        a: Sequence of arrays. The scores of model a on each sample, an array for each run.
        b: Sequence of arrays. The scores of model b, from the runs of the same seeds.
        margin: Float. The difference that does not matter, as in `compare`. Defaults to 0.01.
        direction: Integer. As in `compare_scores`. Defaults to that of the accuracy or loss.
        samples: Integer. As in `compare_scores`. Defaults to the number of scores.
    """
    over_samples = compare_scores(
        metric,
        np.mean(a, axis=0),
        np.mean(b, axis=0),
        margin=margin,
        runs=len(a),
        direction=direction,
        samples=samples,
    )
    sign = over_samples.direction
    gains = np.array([sign * float((one - other).mean()) for one, other in zip(a, b, strict=True)])
    low, high = _t_interval(gains, 0.95)
    is_shown = _shown_by_runs(over_samples.verdict, gains, over_samples.negligible)
    return RunComparison(
        gains=tuple(map(float, gains)),
        gain=float(gains.mean()),
        low=low,
        high=high,
        over_samples=over_samples,
        verdict=over_samples.verdict if is_shown else "can't tell",
    )


def _shown_by_runs(
    verdict: str, gains: Sequence[float] | np.ndarray, negligible: float | None
) -> bool:
    """Return whether the intervals over runs show a verdict too."""
    values = np.array(gains)
    if verdict == "as good":
        low, high = _t_interval(values, 0.9)
        return negligible is not None and -negligible <= low <= high <= negligible
    low, high = _t_interval(values, 0.95)
    return (verdict == "better" and low > 0) or (verdict == "worse" and high < 0)


def _t_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return Student's t interval of the mean; without ends with fewer than three values."""
    count = len(values)
    if count < LEAST_RUNS:
        return -math.inf, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(count)
    half = float(scipy.stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    mean = float(values.mean())
    return mean - half, mean + half
