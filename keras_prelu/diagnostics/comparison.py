"""Paired comparison of two models on the same samples, with its statistical uncertainty.

`Comparison.sentence` expresses in words how two models compare. The verdict of a fine-tuning
combines such sentences and covers the cases without a comparison
(`training.result.FineTuning.verdict`); the command line, the demo and the report print the
sentences that these two return.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats

from keras_prelu.data.samples import as_samples
from keras_prelu.data.signature import check_model
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.diagnostics.compiled_metrics import MetricValues
from keras_prelu.diagnostics.paired_intervals import (
    ERROR,
    LEAST_DIFFERENT,
    PairedIntervals,
    mean_intervals,
    outcome_intervals,
    samples_for_equality,
)
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.utils.checks import check_number

__all__ = [
    "MARGIN",
    "Comparison",
    "MetricComparison",
    "compare",
    "compare_measured",
    "compare_scores",
]

MARGIN = 0.01
"""The difference that does not matter: a point of accuracy, or a hundredth of a loss."""

_LEAST_DISCORDANT = 6
"""McNemar's test rejects equality at 5 % from this number of samples on."""


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """Two models compared by a metric that they are compiled with.

    Attributes:
        name: String. The name of the metric.
        a: Float. The metric of model a.
        b: Float. The metric of model b.
        gain: Float. By how much a is better; a − b if it is unknown which values are better.
        low: Float. Lower end of the gain's interval, whose error of 5 % is shared among all such
            metrics; minus infinity if the samples allow no interval.
        high: Float. Upper end of that interval.
        verdict: String. "better", "worse", "as good", "can't tell", or "different" if it is unknown
            which values are better.
    """

    name: str
    a: float
    b: float
    gain: float
    low: float
    high: float
    verdict: str

    def sentence(self) -> str:
        """Return the figures of the metric, with its verdict, as one sentence."""
        return (
            f"{self.name}: {self.verdict}, {self.a:.4f} against {self.b:.4f}"
            f" ({_interval_text(self.low, self.high)})."
        )


@dataclass(frozen=True)
class Comparison:
    """Model a compared with model b, paired by sample.

    Attributes:
        metric: String. "accuracy" (higher is better) or "loss" (lower is better).
        samples: Integer. The number of samples.
        a: Float. The mean score of model a.
        b: Float. The mean score of model b.
        gain: Float. By how much a is better: a − b for accuracy, b − a for loss.
        low: Float. Lower end of the gain's 95 % confidence interval over samples; minus infinity if
            the samples allow no interval.
        high: Float. Upper end of that interval.
        p_value: Float, or None. McNemar's exact test of no difference; only for accuracies of
            single models.
        verdict: String. How a compares with b: "better", "worse", "as good" (the gain lies within
            the margin, with an error of at most 5 %), "mixed" (better by one metric and worse by
            another), or "can't tell".
        needed: Integer, or None. If the verdict is "can't tell": about how many samples would show
            a gain of this size, or that there is none beyond the margin.
        note: String. Why the samples allow no interval; empty if they allow one.
        runs: Integer. The number of trainings of each model. The interval covers samples, not
            trainings. Defaults to 1.
        metrics: Tuple of `MetricComparison` of the other metrics that the models are compiled with.
            "better" and "as good" need that a is worse in none of them.
    """

    metric: str
    samples: int
    a: float
    b: float
    gain: float
    low: float
    high: float
    p_value: float | None
    verdict: str
    needed: int | None
    note: str = ""
    runs: int = 1
    metrics: tuple[MetricComparison, ...] = ()

    def sentence(self, a: str, b: str) -> str:
        """Return the verdict in words, with the interval and the number of samples needed.

        Args:
            a: String. The name of model a in the sentence.
            b: String. The name of model b in the sentence.
        """
        runs = "one run" if self.runs == 1 else f"{self.runs} runs"
        note = f"; {self.note}" if self.note else ""
        figures = (
            f"{self.metric} {self.a:.4f} against {self.b:.4f}, gain {self.gain:+.4f} "
            f"({_interval_text(self.low, self.high)}, n = {self.samples:,}, {runs}{note})."
        )
        metrics = [metric.sentence() for metric in self.metrics]
        return " ".join([f"{self._meaning(a, b)}: {figures}", *metrics])

    def _meaning(self, a: str, b: str) -> str:
        needed = f" (about {self.needed:,} samples are needed)" if self.needed else ""
        better, worse = (
            self._metrics_with("better"),
            self._metrics_with("worse"),
        )
        return {
            "better": f"{a} is better than {b}",
            "worse": f"{a} is worse than {b}" + (f" in {worse}" if self.metrics else ""),
            "mixed": f"{a} is better than {b} in {better} but worse in {worse}",
            "as good": f"{a} is as good as {b}",
            "can't tell": f"Can't tell {a} from {b} with this much data{needed}",
        }[self.verdict]

    def _metrics_with(self, verdict: str) -> str:
        """Return the names of the metrics by which a is better, or worse."""
        primary = _direction_of(self.low, self.high, self.p_value)
        names = [self.metric] if primary == verdict else []
        names += [metric.name for metric in self.metrics if metric.verdict == verdict]
        return " and ".join(names)


@models_by_name("a", "b")
@keeps_state("a", "b")
def compare(
    a: ModelLike,
    b: ModelLike,
    data: Any,
    *,
    loss: Any = None,
    margin: float = MARGIN,
    seed: int = 0,
) -> Comparison:
    """Compare two models on labeled samples that neither of them was trained or selected on.

    Classifiers (class numbers or one-hot labels) are compared by accuracy, other models by their
    loss; both also by the other metrics that `a`, or else `b`, is compiled with. Where samples are
    drawn independently, the statements "better or worse" are wrong with a probability of at most
    5 %, and so is "as good"; those by the other metrics share another 5 %. "As good" within a
    hundredth needs 299 samples or more. The intervals cover samples: another training of the same
    models may compare differently.

    Args:
        a: Keras model. The model that may be better.
        b: Keras model. The model that `a` is compared with.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that `a` is
            compiled with, or `b` if `a` is not compiled.
        margin: Float. The difference that does not matter: absolute for accuracies, relative to the
            loss of `b` for losses. Defaults to 0.01.
        seed: Integer. Has no effect: no random numbers are drawn. Accepted as in earlier versions.

    Returns:
        A `Comparison`. Its verdict is "better" only if the whole interval is above zero and, for
        accuracies, McNemar's exact test rejects equality at 5 %.

    Raises:
        DataError: If the samples have no labels or do not fit.
        InvalidArgumentError: If there is no loss to compare by. A `ValueError`.

    Example:

    >>> keras_prelu.compare(tuned, control, (x_test, y_test)).verdict
    """
    check_number("margin", margin, minimum=0.0)
    check_model(a, "a")
    check_model(b, "b")
    data = as_samples(data, labels="required")
    warn_of_range(a, data.x)
    compiled = a if a.compiled else b
    loss = loss if loss is not None else getattr(compiled, "loss", None)
    return compare_measured(
        measure_scores(a, data, loss=loss, metrics_of=compiled),
        measure_scores(b, data, loss=loss, metrics_of=compiled),
        margin=margin,
    )


def compare_measured(a: Scores, b: Scores, *, margin: float = MARGIN) -> Comparison:
    """Compare two models by their scores and metrics on the same samples.

    Args:
        a: `Scores` of model a.
        b: `Scores` of model b.
        margin: Float. See `compare`. Defaults to 0.01.

    Raises:
        InvalidArgumentError: A ValueError; the scores are of different kinds.
    """
    if a.metric != b.metric:
        raise InvalidArgumentError(
            f"The models can't be compared: for these labels one is scored by its {a.metric}, the"
            f" other by its {b.metric}. Their outputs have the shapes {a.output_shape} and"
            f" {b.output_shape} a sample."
        )
    if a.metric == "loss" and a.output_shape != b.output_shape:
        raise InvalidArgumentError(
            "The models can't be compared by one loss: their outputs have the shapes"
            f" {a.output_shape} and {b.output_shape} a sample."
        )
    others = {metric.name: metric for metric in b.metrics}
    pairs = [(metric, others[metric.name]) for metric in a.metrics if metric.name in others]
    return compare_scores(a.metric, a.values, b.values, margin=margin, metrics=pairs)


def compare_scores(
    metric: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    margin: float = MARGIN,
    runs: int = 1,
    metrics: Sequence[tuple[MetricValues, MetricValues]] = (),
) -> Comparison:
    """Compare two models by their scores on each sample.

    Args:
        metric: String. "accuracy" or "loss".
        a: Array with the score of model a on each sample: for "accuracy" 0 or 1, or their mean over
            several trainings; for "loss" the loss.
        b: Array with the scores of model b.
        margin: Float. See `compare`. Defaults to 0.01.
        runs: Integer. The number of trainings that scores are means of. Defaults to 1.
        metrics: Sequence of pairs of `MetricValues`, of model a and model b. Defaults to none.

    Returns:
        A `Comparison`.
    """
    gains = (a - b) if metric == "accuracy" else (b - a)
    are_outcomes = metric == "accuracy" and _binary(a) and _binary(b)
    wins, losses = int(np.sum(gains > 0)), int(np.sum(gains < 0))
    intervals = outcome_intervals(len(a), wins, losses) if are_outcomes else mean_intervals(gains)
    p_value = _mcnemar(wins, losses) if are_outcomes else None
    negligible = margin if metric == "accuracy" else margin * abs(float(b.mean()))
    enough = len(a) >= samples_for_equality(margin)
    verdict = _direction_of(intervals.low, intervals.high, p_value)
    if verdict is None:
        verdict = "as good" if enough and _within(intervals, negligible) else "can't tell"
    compared = tuple(
        _compared_metric(one, other, margin, enough, ERROR / len(metrics)) for one, other in metrics
    )
    verdict = _overall(verdict, [result.verdict for result in compared])
    is_open = verdict == "can't tell"
    return Comparison(
        metric=metric,
        samples=len(a),
        a=float(a.mean()),
        b=float(b.mean()),
        gain=float(gains.mean()),
        low=intervals.low,
        high=intervals.high,
        p_value=p_value,
        verdict=verdict,
        needed=_needed(gains, negligible, margin, are_outcomes) if is_open else None,
        note=intervals.note,
        runs=runs,
        metrics=compared,
    )


def _direction_of(low: float, high: float, p_value: float | None) -> str | None:
    """Return "better" or "worse" if an interval excludes 0, and McNemar's test agrees."""
    if p_value is not None and p_value >= ERROR:
        return None
    return "better" if low > 0 else "worse" if high < 0 else None


def _within(intervals: PairedIntervals, negligible: float) -> bool:
    # The loss of a model may be infinite, and no interval is then within it.
    return math.isfinite(negligible) and (
        -negligible <= intervals.inner_low and intervals.inner_high <= negligible
    )


def _compared_metric(
    a: MetricValues, b: MetricValues, margin: float, enough: bool, error: float
) -> MetricComparison:
    """Compare two models by a metric, from the jackknife's pseudo-values."""
    sign = a.direction or 1
    gains = sign * (a.pseudo_values - b.pseudo_values)
    intervals = mean_intervals(gains, error=error)
    is_share = a.direction == 1 and min(a.value, b.value) >= 0 and max(a.value, b.value) <= 1
    negligible = margin if is_share else margin * abs(b.value)
    verdict = _direction_of(intervals.low, intervals.high, None)
    if verdict is None:
        verdict = "as good" if enough and _within(intervals, negligible) else "can't tell"
    elif a.direction == 0:
        verdict = "different"
    return MetricComparison(
        name=a.name,
        a=a.value,
        b=b.value,
        gain=sign * (a.value - b.value),
        low=intervals.low,
        high=intervals.high,
        verdict=verdict,
    )


def _overall(primary: str, others: Sequence[str]) -> str:
    """Return the verdict by all metrics, of which the first decides if none contradicts it."""
    verdicts = {primary, *others}
    if {"better", "worse"} <= verdicts:
        return "mixed"
    if "worse" in verdicts:
        return "worse"
    if primary == "as good" and not verdicts <= {"as good", "better"}:
        return "can't tell"
    return primary


def _interval_text(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"95 % interval {low:+.4f} to {high:+.4f}"


def _needed(gains: np.ndarray, negligible: float, margin: float, are_outcomes: bool) -> int | None:
    """Return how many samples are needed to show this gain, or that it lies within the margin."""
    if not np.all(np.isfinite(gains)):
        return None
    count, mean, deviation = len(gains), float(gains.mean()), float(gains.std())
    different = int(np.sum(gains != 0))
    counts = []
    if mean != 0:
        least = _LEAST_DISCORDANT if are_outcomes else LEAST_DIFFERENT
        quantile = float(scipy.stats.norm.ppf(1.0 - ERROR / 2))
        counts.append(max((quantile * deviation / mean) ** 2, count * least / different))
    if abs(mean) < negligible:
        quantile = float(scipy.stats.norm.ppf(1.0 - ERROR))
        shown = (quantile * deviation / (negligible - abs(mean))) ** 2
        counts.append(max(shown, samples_for_equality(margin)))
    return max(count + 1, math.ceil(min(counts))) if counts else None


def _binary(scores: np.ndarray) -> bool:
    return bool(np.all(np.isin(scores, (0.0, 1.0))))


def _mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact p-value of the hypothesis that neither model is better.

    Under this hypothesis, each of the samples that only one of the models gets right is equally
    likely to be right in either model.
    """
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
