"""A model's loss and metrics on labelled samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.data.batches import Batches
from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import Samples, as_samples
from keras_prelu.diagnostics.comparison import sample_scores

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, and the number of samples they were measured on."""

    samples: int
    metrics: Mapping[str, float]


def evaluate(
    model: keras.Model, samples: Samples, *, loss: Any = None, batch_size: int = 32
) -> Evaluation:
    """The metrics the model is compiled with; for one that is not compiled, accuracy (classifiers)
    or the given loss.

    Args:
        model: Sequential or Functional. Not changed.
        samples: Labelled samples.
        loss: Keras loss, for a model that is not compiled and no classifier.
        batch_size: Samples in a step.

    Raises:
        DataError: The samples have no labels or do not fit the model.
        InvalidArgumentError: A ValueError; there is nothing to measure by.
    """
    samples = as_samples(samples, model=model, labels="required")
    check_labels(model, samples, loss if loss is not None else getattr(model, "loss", None))
    if model.compiled and loss is None:
        data = (
            (Batches(samples, batch_size),)
            if samples.on_disk
            else (samples.x, samples.y, batch_size)
        )
        metrics = model.evaluate(*data, verbose=0, return_dict=True)
        return Evaluation(len(samples), {name: float(value) for name, value in metrics.items()})
    name, scores = sample_scores(model, samples, loss=loss)
    return Evaluation(len(samples), {name: float(scores.mean())})
