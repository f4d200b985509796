"""The scores of a model on each sample, and the values of its compiled metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.data.labels import check_labels
from keras_prelu.data.output_losses import loss_weights_of
from keras_prelu.data.predicted_classes import predicted_classes
from keras_prelu.data.samples import Samples, as_samples
from keras_prelu.data.signature import input_signature
from keras_prelu.diagnostics.compiled_metrics import MetricValues, metric_values, named_metric
from keras_prelu.diagnostics.predictions import Predictions, losses_by_sample, predict
from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state

__all__ = ["Scores", "check_scores", "measure_scores", "sample_scores"]

_ACCURACY, _LOSS = "accuracy", "loss"
_FEW = 8


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a model does on samples.

    Attributes:
        metric: String. "accuracy" for classifiers, else "loss"; or the metric that was chosen.
        values: NumPy array. The metric on each sample; of a chosen metric that is no mean over
            samples, the jackknife's pseudo-value of each group of samples.
        metrics: Tuple of `MetricValues` of the other metrics that a model is compiled with.
        direction: Integer. 1 if higher values are better, -1 if lower ones are.
        samples: Integer. The number of samples.
        value: Float. The metric on all samples.
        is_chosen: Boolean. Whether the metric was chosen, so that the others decide nothing.
        output_shape: Tuple of integers. The shape of the output for one sample, or a tuple of such
            for several outputs; empty if it is not known.
    """

    metric: str
    values: np.ndarray
    metrics: tuple[MetricValues, ...] = ()
    direction: int
    samples: int
    value: float
    is_chosen: bool = False
    output_shape: Any = ()

    @property
    def by_name(self) -> dict[str, float]:
        """All metrics by their names."""
        return {self.metric: self.value, **{other.name: other.value for other in self.metrics}}


@keeps_state("model")
def measure_scores(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    metrics_of: keras.Model | None = None,
    metric: Any = None,
) -> Scores:
    """Measure the score on each sample, and the other metrics that a model is compiled with.

    Args:
        model: Keras model.
        data: `Samples`, or a tuple (x, y) or (x, y, weights).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that the model
            is compiled with.
        metrics_of: Keras model whose compiled metrics are measured. Defaults to `model`.
        metric: String or Keras metric. The metric that is the score, see `compare`. Defaults to
            None.

    Returns:
        `Scores`.

    Raises:
        DataError, InvalidArgumentError: As in `sample_scores`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    compiled = metrics_of or model
    predictions = predict(model, data)
    found = _scored(model, compiled, predictions, loss, needs_loss=metric == _LOSS)
    name = _ACCURACY if _ACCURACY in found else _LOSS
    others = tuple(
        # Such as an accuracy that is weighted.
        replace(other, name=f"compiled_{name}") if other.name == name else other
        for other in metric_values(compiled, predictions, besides=found)
    )
    scores = Scores(
        metric=name,
        values=found[name],
        metrics=others,
        direction=1 if name == _ACCURACY else -1,
        samples=len(data),
        value=float(found[name].mean()),
        output_shape=predictions.shape,
    )
    return scores if metric is None else _by_metric(scores, metric, found, predictions)


@keeps_state("model")
def sample_scores(model: keras.Model, data: Any, *, loss: Any = None) -> tuple[str, np.ndarray]:
    """Return the metric that fits a model and its labels, and its value on each sample.

    Args:
        model: Keras model.
        data: `Samples`, or a tuple (x, y) or (x, y, weights).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that the model
            is compiled with.

    Returns:
        A pair of "accuracy" and an array of 0 and 1, or of "loss" and an array of losses, which are
        summed over the outputs as in training.

    Raises:
        DataError: If the samples have no labels or do not fit.
        InvalidArgumentError: If there is no loss, if it gives no value for each sample, or if its
            metrics can't be computed. A `ValueError`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    found = _scored(model, model, predict(model, data), loss, needs_loss=False)
    name = _ACCURACY if _ACCURACY in found else _LOSS
    return name, found[name]


def check_scores(
    model: keras.Model, data: Samples, loss: Any = None, *, with_metrics: bool = True
) -> None:
    """Check on a few samples that a model can be scored, before it is trained at length.

    Args:
        model: Keras model.
        data: `Samples` with labels that fit the model.
        loss: Keras loss. Defaults to the loss that the model is compiled with.
        with_metrics: Boolean. Whether the metrics that the model is compiled with are measured too.
            Defaults to True.

    Raises:
        DataError, InvalidArgumentError: As in `sample_scores`.
    """
    measure = measure_scores if with_metrics else sample_scores
    count = input_signature(model, data.x).batch_size or _FEW
    measure(model, data.take(slice(0, count)), loss=loss)


def _scored(
    model: keras.Model,
    compiled: keras.Model,
    predictions: Predictions,
    loss: Any,
    *,
    needs_loss: bool,
) -> dict[str, np.ndarray]:
    """Return the scores of each sample by name: "accuracy", or "loss" and that of each output."""
    labels = predictions.labels[0]
    loss = loss if loss is not None else getattr(model, "loss", None)
    if len(predictions.structure) == 1 and labels is not None and not needs_loss:
        predicted = predicted_classes(labels, predictions.outputs[0], loss)
        if predicted is not None:
            classes = labels.reshape(len(labels), -1)
            classes = classes.argmax(-1) if classes.shape[1] > 1 else classes[:, 0]
            _check_classes(classes, predictions.outputs[0].shape[1], loss)
            return {_ACCURACY: (predicted == classes).astype(np.float64)}
    found = losses_by_sample(predictions, loss, loss_weights_of(compiled))
    # The loss of the only output that has one is the loss itself.
    return found if len(found) > 2 else {_LOSS: found[_LOSS]}


def _check_classes(classes: np.ndarray, count: int, loss: Any) -> None:
    """Raise a DataError if a label is the number of no class, nor the one that the loss ignores."""
    largest = int(classes.max(initial=0))
    if count > 1 and largest >= count and largest != getattr(loss, "ignore_class", None):
        raise DataError(
            f"The label {largest} is none of the model's {count} classes, which are 0 to"
            f" {count - 1}."
        )


def _by_metric(
    scores: Scores, metric: Any, found: dict[str, np.ndarray], predictions: Predictions
) -> Scores:
    """Return the scores by the metric that was chosen; the others come after it."""
    own = MetricValues(
        name=scores.metric,
        direction=scores.direction,
        value=scores.value,
        pseudo_values=scores.values,
    )
    if metric == scores.metric:
        return _chosen(scores, own, scores.metrics)
    known = {other.name: other for other in scores.metrics}
    if metric in found and f"{metric}_loss" in known:
        metric = f"{metric}_loss"
    if isinstance(metric, str) and metric in known:
        rest = tuple(other for other in scores.metrics if other.name != metric)
        return _chosen(scores, known[metric], rest)
    available = [scores.metric, *known]
    return _chosen(scores, named_metric(metric, predictions, available), scores.metrics)


def _chosen(scores: Scores, metric: MetricValues, others: tuple[MetricValues, ...]) -> Scores:
    if not metric.direction:
        raise InvalidArgumentError(
            f"Of the metric '{metric.name}' it is not known whether higher values are better. Give"
            " a metric by which models can be compared."
        )
    return Scores(
        metric=metric.name,
        values=metric.pseudo_values,
        metrics=others,
        direction=metric.direction,
        samples=scores.samples,
        value=metric.value,
        is_chosen=True,
        output_shape=scores.output_shape,
    )
