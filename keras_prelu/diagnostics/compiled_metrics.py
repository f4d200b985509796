"""The metrics that a model is compiled with, and how much they vary from sample to sample.

A metric such as the intersection over union is no mean of values by sample. Its variation is
measured by the jackknife: it is computed again without each of 40 groups of the samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import (
    compiled_metrics,
    metric_direction,
    set_keras_mask,
)
from keras_prelu.diagnostics.predictions import Predictions
from keras_prelu.errors import InvalidArgumentError, reason_of

__all__ = ["MetricValues", "metric_values", "named_metric"]

_GROUPS = 40
_BATCH = 1024
_HIGHER_IS_BETTER = re.compile(
    r"acc|auc|iou|dice|jaccard|f\d|f_?beta|f_?score|precision|recall|sensitivity|specificity|r2"
    r"|kappa|mcc|psnr|ssim|correlation|similarity"
)
_LOWER_IS_BETTER = re.compile(
    r"loss|error|mse|mae|rmse|mape|msle|entropy|divergence|hinge|poisson|distance|perplexity"
)


@dataclass(frozen=True, kw_only=True)
class MetricValues:
    """A metric of a model on samples.

    Attributes:
        name: String. The name of the metric. For one that has a value for each class, their mean
            is measured.
        direction: Integer. 1 if higher is better, -1 if lower is better, 0 if that is unknown.
        value: Float. The metric on all samples.
        pseudo_values: NumPy array. The jackknife's pseudo-value of each group of samples; their
            mean estimates the metric. Models measured on the same samples have the same groups.
    """

    name: str
    direction: int
    value: float
    pseudo_values: np.ndarray


def metric_values(
    model: keras.Model, predictions: Predictions, *, besides: Mapping[str, np.ndarray]
) -> tuple[MetricValues, ...]:
    """Measure the metrics that a model is compiled with, on all of its outputs.

    An output without such a metric is measured by its loss.

    Args:
        model: Keras model. The state of its metrics is left as it is.
        predictions: `Predictions` of any model with the same outputs.
        besides: Mapping from names to scores of each sample: "accuracy", or "loss" and the losses
            of the outputs if there are several. A metric that is the mean of the accuracy or the
            loss is left out.

    Returns:
        Tuple of `MetricValues`.

    Raises:
        InvalidArgumentError: A ValueError; a metric can't be computed from labels and outputs.
    """
    metrics = compiled_metrics(model)
    measured: tuple[MetricValues, ...] = ()
    with_metrics: set[str] = set()
    if metrics is not None:
        with _state_kept(metrics):
            measured = _measured(metrics, predictions, besides)
            with_metrics = {_output_of(name, predictions) for name in metrics.result()}
    groups = _groups(len(predictions))
    return (
        *measured,
        *(
            MetricValues(
                name=f"{name}_loss",
                direction=-1,
                value=float(values.mean()),
                pseudo_values=np.array([values[group].mean() for group in groups]),
            )
            for name, values in besides.items()
            if name in predictions.structure.names and name not in with_metrics
        ),
    )


def named_metric(metric: Any, predictions: Predictions, available: Sequence[str]) -> MetricValues:
    """Measure a metric that a model is not compiled with, on its only output.

    Args:
        metric: Keras metric, or its name.
        predictions: `Predictions`.
        available: Sequence of strings. Metrics that a user may name instead, for messages.

    Raises:
        InvalidArgumentError: There is no such metric, or it is not known for which output it is. A
            `ValueError`.
    """
    names = ", ".join(map(repr, available))
    if len(predictions.structure) > 1:
        raise InvalidArgumentError(
            f"`metric` must be one of {names} for a model with several outputs. Received:"
            f" {metric!r}"
        )
    try:
        found = keras.metrics.get(metric)
        found = found if isinstance(found, keras.metrics.Metric) else _of_function(found)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"There is no metric {metric!r}. The model has {names}; others are given by the name of"
            f" a Keras metric or as a keras.metrics.Metric ({reason_of(error, 80)})."
        ) from error
    only = _OnlyMetric(found)
    with _state_kept(only):
        return _measured(only, predictions, {})[0]


class _OnlyMetric:
    """One metric with the interface of those that a model is compiled with."""

    def __init__(self, metric: keras.metrics.Metric) -> None:
        self.metrics = [metric]

    @property
    def variables(self) -> list[Any]:
        return self.metrics[0].variables

    def reset_state(self) -> None:
        self.metrics[0].reset_state()

    def update_state(self, labels: Any, outputs: Any, sample_weight: Any = None) -> None:
        one = keras.tree.flatten(labels)[0], keras.tree.flatten(outputs)[0]
        self.metrics[0].update_state(*one, sample_weight=sample_weight)

    def result(self) -> dict[str, Any]:
        return {self.metrics[0].name: self.metrics[0].result()}


def _of_function(function: Any) -> keras.metrics.Metric:
    return keras.metrics.MeanMetricWrapper(function, name=getattr(function, "__name__", "metric"))


def _groups(count: int) -> list[np.ndarray]:
    order = np.random.default_rng(0).permutation(count)
    return np.array_split(order, min(_GROUPS, count))


def _measured(
    metrics: Any, predictions: Predictions, besides: Mapping[str, np.ndarray]
) -> tuple[MetricValues, ...]:
    """Return the values of metrics but of those that are the mean of known scores."""
    groups = _groups(len(predictions))
    try:
        # Outputs that are infinite have metrics that are not numbers.
        with np.errstate(invalid="ignore"):
            whole = _computed(metrics, predictions, np.arange(len(predictions)))
            parts = _computed_without(metrics, predictions, groups)
    except Exception as error:  # Each backend has exceptions of its own, users' code any.
        labels = [labels for labels in predictions.labels if labels is not None]
        raise InvalidArgumentError(
            f"The metrics of the model can't be computed from labels of shape"
            f" {_shapes(labels)} and outputs of shape {_shapes(predictions.outputs)} a sample"
            f" ({reason_of(error)}). Compile it with others or none."
        ) from error
    directions = {metric.name: metric_direction(metric) for metric in metrics.metrics}
    scores = [besides[name] for name in ("accuracy", "loss") if name in besides]
    return tuple(
        MetricValues(
            name=name,
            direction=_direction(
                name, directions.get(name.removeprefix(f"{_output_of(name, predictions)}_"))
            ),
            value=value,
            pseudo_values=_pseudo_values(value, [part[name] for part in parts]),
        )
        for name, value in whole.items()
        if not any(
            _is_mean_of(one, value, [part[name] for part in parts], groups) for one in scores
        )
    )


def _shapes(arrays: Sequence[np.ndarray]) -> str:
    return ", ".join(str(array.shape[1:]) for array in arrays)


def _output_of(name: str, predictions: Predictions) -> str:
    """Return the output in front of the name of a metric; "" if there is only one output."""
    outputs = predictions.structure.names if len(predictions.structure) > 1 else ()
    found = [output for output in outputs if name.startswith(f"{output}_")]
    return max(found, key=len, default="")


def _computed_without(
    metrics: Any, predictions: Predictions, groups: list[np.ndarray]
) -> list[dict[str, float]]:
    """Return the metrics on all samples but those of each group; NaN if none are left.

    The state of most metrics is a sum over samples. Then that of the other groups is the difference
    from the whole, and each sample is read twice instead of forty times.
    """
    everything = np.arange(len(predictions))
    if len(groups) == 1:
        return [dict.fromkeys(_computed(metrics, predictions, everything), float("nan"))]
    _computed(metrics, predictions, everything)
    whole = _state(metrics)
    parts = []
    for group in groups:
        _computed(metrics, predictions, group)
        parts.append(_state(metrics))
    sums = [sum(values) for values in zip(*parts, strict=True)]
    if not all(np.allclose(one, other, rtol=1e-4) for one, other in zip(sums, whole, strict=True)):
        return [_computed(metrics, predictions, np.delete(everything, group)) for group in groups]
    results = []
    for part in parts:
        _assign(metrics, [total - values for total, values in zip(whole, part, strict=True)])
        results.append(_results(metrics))
    return results


def _computed(metrics: Any, predictions: Predictions, samples: np.ndarray) -> dict[str, float]:
    metrics.reset_state()
    has_weights = any(weights is not None for weights in predictions.weights)
    for start in range(0, len(samples), _BATCH):
        rows = samples[start : start + _BATCH]
        outputs = []
        for output, mask in zip(predictions.outputs, predictions.masks, strict=True):
            outputs.append(keras.ops.convert_to_tensor(output[rows]))
            if mask is not None:
                set_keras_mask(outputs[-1], keras.ops.convert_to_tensor(mask[rows]))
        # An output without labels has no metric either, and nothing reads what stands for them.
        labels = [
            output if truth is None else keras.ops.convert_to_tensor(truth[rows])
            for truth, output in zip(predictions.labels, outputs, strict=True)
        ]
        weights = [
            keras.ops.ones((len(rows),))
            if part is None
            else keras.ops.convert_to_tensor(part[rows], dtype="float32")
            for part in predictions.weights
        ]
        pack = predictions.structure.pack
        metrics.update_state(
            pack(labels), pack(outputs), sample_weight=pack(weights) if has_weights else None
        )
    return _results(metrics)


def _results(metrics: Any) -> dict[str, float]:
    results = keras.tree.map_structure(keras.ops.convert_to_numpy, dict(metrics.result()))
    return {name: float(np.mean(value)) for name, value in results.items() if np.ndim(value) <= 1}


def _state(metrics: Any) -> list[np.ndarray]:
    return [
        np.array(keras.ops.convert_to_numpy(variable), dtype="float64")
        for variable in metrics.variables
    ]


def _assign(metrics: Any, state: list[np.ndarray]) -> None:
    for variable, values in zip(metrics.variables, state, strict=True):
        variable.assign(values.astype(keras.backend.standardize_dtype(variable.dtype)))


@contextmanager
def _state_kept(metrics: Any) -> Iterator[None]:
    """Restore the state of metrics at the end of the context."""
    stored = _state(metrics)
    try:
        yield
    finally:
        metrics.reset_state()
        if stored:  # Metrics that were not built before have no state to restore.
            _assign(metrics, stored)


def _direction(name: str, known: str | None) -> int:
    if known is not None:
        return 1 if known == "up" else -1
    if _LOWER_IS_BETTER.search(name.lower()):
        return -1
    return 1 if _HIGHER_IS_BETTER.search(name.lower()) else 0


def _pseudo_values(whole: float, parts: list[float]) -> np.ndarray:
    return len(parts) * whole - (len(parts) - 1) * np.array(parts)


def _is_mean_of(
    scores: np.ndarray, whole: float, parts: list[float], groups: list[np.ndarray]
) -> bool:
    """Return whether a metric is the mean of these scores, with and without each group."""
    total, count = float(scores.sum()), len(scores)
    means = [(total - float(scores[group].sum())) / max(1, count - len(group)) for group in groups]
    return bool(np.allclose([whole, *parts], [total / count, *means], rtol=1e-4, atol=1e-6))
