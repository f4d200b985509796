"""The loss and metrics of a model on labeled samples."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.devices import replicas
from keras_prelu.backend.hosts import hosts, without_distribution
from keras_prelu.backend.variables import values_kept_through_errors
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.batches import Batches
from keras_prelu.data.labels import arranged, check_labels
from keras_prelu.data.samples import CheckedSamples, as_samples
from keras_prelu.diagnostics.scores import measure_scores, sample_scores
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table, number
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation(Shown):
    """The metrics of a model.

    Attributes:
        samples: Integer. The number of samples that were used.
        metrics: Mapping from the name of a metric to its value.
    """

    samples: int
    metrics: Mapping[str, float]

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the metrics."""
        table = Table(
            title=f"{self.samples} samples",
            columns=["metric", "value"],
            rows=[[name, number(value, 6)] for name, value in self.metrics.items()],
            right=["value"],
        )
        return (table,)


@models_by_name("model")
@keeps_state("model")
def evaluate(
    model: ModelLike,
    samples: Any,
    *,
    loss: Any = None,
    metric: Any = None,
    batch_size: int = 32,
) -> Evaluation:
    """Evaluate a model by its compiled metrics, or by accuracy or loss if it is not compiled.

    Args:
        model: Keras model. It is not changed.
        samples: `Samples` with labels, a tuple (x, y) or (x, y, weights), or a data set of batches
            that ends.
        loss: Keras loss, for a model that is neither compiled nor a classifier.
        metric: String or Keras metric, as in `compare`, which comes first among the metrics.
            Defaults to None.
        batch_size: Integer. The number of samples in a batch. Defaults to 32.

    Returns:
        An `Evaluation`.

    Raises:
        DataError: If the samples have no labels or do not fit the model.
        InvalidArgumentError: If there is neither a metric nor a loss. A `ValueError`.
    """
    data = as_samples(samples, model=model, labels="required")
    check_labels(model, data, loss if loss is not None else getattr(model, "loss", None))
    metrics: dict[str, float] = {}
    if metric is not None:
        chosen = measure_scores(model, data, loss=loss, metric=metric)
        metrics[chosen.metric] = chosen.value
    if model.compiled and loss is None and _computes_loss(model):
        metrics |= _compiled_metrics(model, arranged(model, data), batch_size)
    else:
        name, scores = sample_scores(model, data, loss=loss)
        metrics[name] = float(scores.mean())
    return Evaluation(samples=len(data), metrics=metrics)


def _computes_loss(model: keras.Model) -> bool:
    """Return whether a model is compiled with a loss, or computes one in another way.

    Without one, Keras raises an error, and on JAX it returns 0.
    """
    own = ("compute_loss", "test_step")
    overrides = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in own)
    return model.loss is not None or bool(model.losses) or overrides


def _compiled_metrics(
    model: keras.Model, data: CheckedSamples, batch_size: int
) -> dict[str, float]:
    """Return the loss and the metrics that a model is compiled with, by Keras's `evaluate`."""
    if data.on_disk:
        with values_kept_through_errors(model):
            metrics = model.evaluate(Batches(data, batch_size), verbose=0, return_dict=True)
    else:
        x, y, weights = (*keras_arrays(data.labelled), None)[:3]
        # Keras refuses a last batch that the devices can't divide.
        is_divided = len(data) % replicas() == batch_size % replicas() == 0 or hosts() > 1
        division = nullcontext() if is_divided else without_distribution()
        with division, values_kept_through_errors(model):
            metrics = model.evaluate(
                x, y, batch_size, sample_weight=weights, verbose=0, return_dict=True
            )
    return {name: float(value) for name, value in metrics.items()}
