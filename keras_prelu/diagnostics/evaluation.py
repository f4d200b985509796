"""The loss and metrics of a model on labeled samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.batches import Batches
from keras_prelu.data.labels import arranged, check_labels
from keras_prelu.data.samples import as_samples
from keras_prelu.diagnostics.scores import sample_scores
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model.

    Attributes:
        samples: Integer. The number of samples that were used.
        metrics: Mapping from the name of a metric to its value.
    """

    samples: int
    metrics: Mapping[str, float]


@models_by_name("model")
@keeps_state("model")
def evaluate(
    model: ModelLike, samples: Any, *, loss: Any = None, batch_size: int = 32
) -> Evaluation:
    """Evaluate a model by its compiled metrics, or by accuracy or loss if it is not compiled.

    Args:
        model: Keras model. It is not changed.
        samples: `Samples` with labels, a tuple (x, y) or (x, y, weights), or a data set of batches
            that ends.
        loss: Keras loss, for a model that is neither compiled nor a classifier.
        batch_size: Integer. The number of samples in a batch. Defaults to 32.

    Returns:
        An `Evaluation`.

    Raises:
        DataError: If the samples have no labels or do not fit the model.
        InvalidArgumentError: If there is neither a metric nor a loss. A `ValueError`.
    """
    data = as_samples(samples, model=model, labels="required")
    check_labels(model, data, loss if loss is not None else getattr(model, "loss", None))
    if model.compiled and loss is None:
        data = arranged(model, data)
        if data.on_disk:
            metrics = model.evaluate(Batches(data, batch_size), verbose=0, return_dict=True)
        else:
            x, y, weights = (*keras_arrays(data.labelled), None)[:3]
            metrics = model.evaluate(
                x, y, batch_size, sample_weight=weights, verbose=0, return_dict=True
            )
        return Evaluation(
            samples=len(data), metrics={name: float(value) for name, value in metrics.items()}
        )
    name, scores = sample_scores(model, data, loss=loss)
    return Evaluation(samples=len(data), metrics={name: float(scores.mean())})
