"""The metrics that a model is compiled with, and how much they vary from sample to sample.

A metric such as the intersection over union is no mean of values by sample. Its variation is
measured by the jackknife: it is computed again without each of 40 groups of the samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
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
from keras_prelu.errors import InvalidArgumentError, reason_of

__all__ = ["MetricValues", "Outputs", "metric_values"]

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
class Outputs:
    """The outputs of a model for samples.

    Attributes:
        values: NumPy array.
        mask: Boolean array of the leading axes of `values`, which says what counts; or None if all
            does.
    """

    values: np.ndarray
    mask: np.ndarray | None = None

    def tensor(self, rows: Any) -> Any:
        """Return the outputs of some samples as a tensor that carries its mask, as in Keras."""
        tensor = keras.ops.convert_to_tensor(self.values[rows])
        if self.mask is not None:
            set_keras_mask(tensor, keras.ops.convert_to_tensor(self.mask[rows]))
        return tensor


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
    model: keras.Model, labels: np.ndarray, outputs: Outputs, *, besides: np.ndarray
) -> tuple[MetricValues, ...]:
    """Measure the metrics that a model is compiled with.

    Args:
        model: Keras model. The state of its metrics is left as it is.
        labels: Array of labels.
        outputs: `Outputs` of a model for these samples, not necessarily those of `model`.
        besides: Array with a score of each sample. A metric that is the mean of these scores is
            left out.

    Returns:
        Tuple of `MetricValues`; empty if the model is compiled without metrics.

    Raises:
        InvalidArgumentError: A ValueError; a metric can't be computed from labels and outputs.
    """
    metrics = compiled_metrics(model)
    if metrics is None:
        return ()
    order = np.random.default_rng(0).permutation(len(labels))
    groups = np.array_split(order, min(_GROUPS, len(labels)))
    # Outputs that are infinite have metrics that are not numbers.
    with _state_kept(metrics), np.errstate(invalid="ignore"):
        try:
            whole = _computed(metrics, labels, outputs, np.arange(len(labels)))
            parts = _computed_without(metrics, labels, outputs, groups)
        except Exception as error:  # Each backend has exceptions of its own, users' code any.
            raise InvalidArgumentError(
                f"The metrics that model '{model.name}' is compiled with can't be computed from"
                f" labels of shape {labels.shape[1:]} and outputs of shape"
                f" {outputs.values.shape[1:]} a sample ({reason_of(error)}). Compile it with others"
                " or none."
            ) from error
        directions = {metric.name: metric_direction(metric) for metric in metrics.metrics}
    return tuple(
        MetricValues(
            name=name,
            direction=_direction(name, directions.get(name)),
            value=value,
            pseudo_values=_pseudo_values(value, [part[name] for part in parts]),
        )
        for name, value in whole.items()
        if not _is_mean_of(besides, value, [part[name] for part in parts], groups)
    )


def _computed_without(
    metrics: Any, labels: np.ndarray, outputs: Outputs, groups: list[np.ndarray]
) -> list[dict[str, float]]:
    """Return the metrics on all samples but those of each group; NaN if none are left.

    The state of most metrics is a sum over samples. Then that of the other groups is the difference
    from the whole, and each sample is read twice instead of forty times.
    """
    if len(groups) == 1:
        return [dict.fromkeys(_computed(metrics, labels, outputs, groups[0]), float("nan"))]
    everything = np.arange(len(labels))
    _computed(metrics, labels, outputs, everything)
    whole = _state(metrics)
    parts = []
    for group in groups:
        _computed(metrics, labels, outputs, group)
        parts.append(_state(metrics))
    sums = [sum(values) for values in zip(*parts, strict=True)]
    if not all(np.allclose(one, other, rtol=1e-4) for one, other in zip(sums, whole, strict=True)):
        rests = [np.delete(np.arange(len(labels)), group) for group in groups]
        return [_computed(metrics, labels, outputs, rest) for rest in rests]
    results = []
    for part in parts:
        _assign(metrics, [total - values for total, values in zip(whole, part, strict=True)])
        results.append(_results(metrics))
    return results


def _computed(
    metrics: Any, labels: np.ndarray, outputs: Outputs, samples: np.ndarray
) -> dict[str, float]:
    metrics.reset_state()
    for start in range(0, len(samples), _BATCH):
        rows = samples[start : start + _BATCH]
        metrics.update_state(keras.ops.convert_to_tensor(labels[rows]), outputs.tensor(rows))
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
    with np.errstate(invalid="ignore"):
        return len(parts) * whole - (len(parts) - 1) * np.array(parts)


def _is_mean_of(
    scores: np.ndarray, whole: float, parts: list[float], groups: list[np.ndarray]
) -> bool:
    """Return whether a metric is the mean of these scores, with and without each group."""
    total, count = float(scores.sum()), len(scores)
    means = [(total - float(scores[group].sum())) / max(1, count - len(group)) for group in groups]
    return bool(np.allclose([whole, *parts], [total / count, *means], rtol=1e-4, atol=1e-6))
