"""Paired comparison of two models on the same samples, with its statistical uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_prelu.data.declarations import check_model
from keras_prelu.data.samples import as_samples
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.diagnostics.comparison_result import (
    Comparison,
    MetricComparison,
)
from keras_prelu.diagnostics.compiled_metrics import MetricValues
from keras_prelu.diagnostics.paired_intervals import (
    ERROR,
    mean_intervals,
    outcome_intervals,
)
from keras_prelu.diagnostics.paired_verdicts import (
    mcnemar,
    needed_of_gains,
    needed_of_outcomes,
    paired_verdict,
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
    "negligible_difference",
]

_ROUNDING = 1e-6
"""Differences of two losses of a sample below this share of them are those of float32."""
MARGIN = 0.01
"""The difference that does not matter: a point of accuracy, or a hundredth of a loss."""


@models_by_name("a", "b")
@keeps_state("a", "b")
def compare(
    a: ModelLike,
    b: ModelLike,
    data: Any,
    *,
    loss: Any = None,
    metric: Any = None,
    margin: float = MARGIN,
    seed: int = 0,
) -> Comparison:
    """Compare two models on labeled samples that neither of them was trained or selected on.

    Classifiers (class numbers or one-hot labels) are compared by accuracy, other models by their
    loss, which is summed over several outputs as in training; both also by the other metrics that
    `a`, or else `b`, is compiled with, on every output (or by the loss of an output that has none).
    With `metric` that one alone decides, and the others are reported. Where samples are
    drawn independently, the statements "better or worse" are wrong with a probability of at most
    5 %, and so is "as good"; those by the other metrics share another 5 %. "As good" within a
    hundredth needs 299 samples or more. The intervals cover samples: another training of the same
    models may compare differently.

    Args:
        a: Keras model. The model that may be better.
        b: Keras model. The model that `a` is compared with.
        data: `Samples`, a tuple (x, y) or (x, y, weights), or a data set of batches that ends.
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that `a` is
            compiled with, or `b` if `a` is not compiled.
        metric: String or Keras metric. The metric that decides: "accuracy", "loss", the name of one
            that the model is compiled with (for several outputs with the output's name in front, as
            in the history of `fit`), or any Keras metric or its name. Defaults to None.
        margin: Float. The difference that does not matter: absolute for accuracies and other shares
            from 0 to 1, relative to the loss of `b` for losses. Defaults to 0.01.
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
    data = as_samples(data, read_for=a, labels="required")
    warn_of_range(a, data.x)
    compiled = a if a.compiled else b
    loss = loss if loss is not None else getattr(compiled, "loss", None)
    return compare_measured(
        measure_scores(a, data, loss=loss, metrics_of=compiled, metric=metric),
        measure_scores(b, data, loss=loss, metrics_of=compiled, metric=metric),
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
    return _compared(a, b, margin=margin, runs=1, metrics=pairs)


def compare_scores(
    metric: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    margin: float = MARGIN,
    runs: int = 1,
    metrics: Sequence[tuple[MetricValues, MetricValues]] = (),
    direction: int | None = None,
    samples: int | None = None,
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
        direction: Integer. 1 if higher scores are better, -1 if lower ones are. Defaults to 1 for
            "accuracy" and else to -1.
        samples: Integer. The number of samples, if scores are those of groups. Defaults to the
            number of scores.

    Returns:
        A `Comparison`.
    """
    if direction is None:
        direction = 1 if metric == "accuracy" else -1
    one, other = (
        Scores(
            metric=metric,
            values=values,
            direction=direction,
            samples=samples or len(values),
            value=float(values.mean()),
        )
        for values in (a, b)
    )
    return _compared(one, other, margin=margin, runs=runs, metrics=metrics)


def _compared(
    a: Scores,
    b: Scores,
    *,
    margin: float,
    runs: int,
    metrics: Sequence[tuple[MetricValues, MetricValues]],
) -> Comparison:
    gains = _gains(a, b)
    are_outcomes = a.metric == "accuracy" and _binary(a.values) and _binary(b.values)
    wins, losses = int(np.sum(gains > 0)), int(np.sum(gains < 0))
    intervals = (
        outcome_intervals(len(gains), wins, losses) if are_outcomes else mean_intervals(gains)
    )
    p_value = mcnemar(wins, losses) if are_outcomes else None
    negligible = negligible_difference(a.value, b.value, a.direction, margin)
    primary = paired_verdict(
        intervals, p_value, samples=a.samples, negligible=negligible, margin=margin
    )
    compared = tuple(
        _compared_metric(one, other, margin, a.samples, ERROR / len(metrics))
        for one, other in metrics
    )
    verdict = primary or "can't tell"
    if not a.is_chosen:
        verdict = _overall(verdict, [result.verdict for result in compared])
    needed = None
    # Of a metric that is no mean over samples, nothing follows for other numbers of samples.
    if primary is None and verdict == "can't tell" and len(gains) == a.samples:
        needed = (
            needed_of_outcomes(a.samples, wins, losses, negligible=negligible, margin=margin)
            if are_outcomes
            else needed_of_gains(gains, negligible=negligible, margin=margin)
        )
    return Comparison(
        metric=a.metric,
        samples=a.samples,
        a=a.value,
        b=b.value,
        gain=a.direction * (a.value - b.value),
        low=intervals.low,
        high=intervals.high,
        p_value=p_value,
        verdict=verdict,
        needed=needed[0] if needed else None,
        needed_for=needed[1] if needed else "",
        note=intervals.note,
        runs=runs,
        metrics=compared,
        is_chosen=a.is_chosen,
        direction=a.direction,
        negligible=negligible,
    )


def _gains(a: Scores, b: Scores) -> np.ndarray:
    """Return the gain on each sample. A difference that rounding explains is none."""
    gains = a.direction * (a.values - b.values)
    with np.errstate(invalid="ignore"):
        rounded = np.abs(gains) <= _ROUNDING * np.abs(b.values)
    return np.where(rounded & np.isfinite(gains), 0.0, gains)


def negligible_difference(a: float, b: float, direction: int, margin: float) -> float:
    """Return the difference that does not matter: of shares from 0 to 1 absolute, else relative.

    Args:
        a: Float. A metric of model a.
        b: Float. That of model b.
        direction: Integer. 1 if higher values are better, -1 if lower ones are.
        margin: Float. See `compare`.
    """
    is_share = direction == 1 and 0 <= min(a, b) <= max(a, b) <= 1
    return margin if is_share else margin * abs(b)


def _compared_metric(
    a: MetricValues, b: MetricValues, margin: float, samples: int, error: float
) -> MetricComparison:
    """Compare two models by a metric, from the jackknife's pseudo-values."""
    sign = a.direction or 1
    gains = sign * (a.pseudo_values - b.pseudo_values)
    intervals = mean_intervals(gains, error=error)
    negligible = negligible_difference(a.value, b.value, a.direction, margin)
    verdict = paired_verdict(intervals, None, samples=samples, negligible=negligible, margin=margin)
    if verdict in ("better", "worse") and a.direction == 0:
        verdict = "different"
    return MetricComparison(
        name=a.name,
        a=a.value,
        b=b.value,
        gain=sign * (a.value - b.value),
        low=intervals.low,
        high=intervals.high,
        verdict=verdict or "can't tell",
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


def _binary(scores: np.ndarray) -> bool:
    return bool(np.all(np.isin(scores, (0.0, 1.0))))
