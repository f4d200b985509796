"""The scores of a model on each sample, and the values of its compiled metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.labels import check_labels
from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.samples import Samples, as_samples, batches, model_inputs
from keras_prelu.data.signature import input_signature
from keras_prelu.diagnostics.compiled_metrics import MetricValues, metric_values
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state

__all__ = ["Scores", "measure_scores", "sample_scores"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a model does on samples.

    Attributes:
        metric: String. "accuracy" for classifiers, else "loss".
        values: NumPy array. The metric on each sample.
        metrics: Tuple of `MetricValues` of the other metrics that a model is compiled with.
    """

    metric: str
    values: np.ndarray
    metrics: tuple[MetricValues, ...] = ()


@keeps_state("model")
def measure_scores(
    model: keras.Model, data: Any, *, loss: Any = None, metrics_of: keras.Model | None = None
) -> Scores:
    """Measure the score on each sample, and the other metrics that a model is compiled with.

    Args:
        model: Keras model.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that the model
            is compiled with.
        metrics_of: Keras model whose compiled metrics are measured. Defaults to `model`.

    Returns:
        `Scores`.

    Raises:
        DataError, InvalidArgumentError: As in `sample_scores`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    labels, outputs = np.asarray(data.y), _predict(model, data)
    metric, values = _scored(model, labels, outputs, loss)
    others = metric_values(metrics_of or model, labels, outputs, besides=values)
    return Scores(metric=metric, values=values, metrics=others)


@keeps_state("model")
def sample_scores(model: keras.Model, data: Any, *, loss: Any = None) -> tuple[str, np.ndarray]:
    """Return the metric that fits a model and its labels, and its value on each sample.

    Args:
        model: Keras model.
        data: `Samples` or a pair (x, y).
        loss: Keras loss, for models that are not classifiers. Defaults to the loss that the model
            is compiled with.

    Returns:
        A pair of "accuracy" and an array of 0 and 1, or of "loss" and an array of losses.

    Raises:
        DataError: If the samples have no labels or do not fit.
        InvalidArgumentError: If there is no loss, if it gives no value for each sample, or if the
            model has several outputs. A `ValueError`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    return _scored(model, np.asarray(data.y), _predict(model, data), loss)


def _scored(
    model: keras.Model, labels: np.ndarray, outputs: np.ndarray, loss: Any
) -> tuple[str, np.ndarray]:
    predicted = _predicted_classes(labels, outputs)
    if predicted is not None:
        classes = labels.reshape(len(labels), -1)
        classes = classes.argmax(-1) if classes.shape[1] > 1 else classes[:, 0]
        return "accuracy", (predicted == classes).astype(np.float64)
    loss = resolved_loss(loss if loss is not None else getattr(model, "loss", None))
    if loss is None:
        raise InvalidArgumentError(
            "The model is no classifier for these labels and is not compiled: give a `loss` to"
            " compare by."
        )
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    if labels.shape == outputs.shape[:-1] and outputs.shape[-1] == 1:
        # As Keras does in training; else the loss would compare each label with all outputs.
        labels = labels[..., None]
    losses = keras.ops.convert_to_numpy(
        function(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(outputs))
    )
    if losses.ndim == 0 or len(losses) != len(labels):
        raise InvalidArgumentError(
            "The loss must give a value for each sample, so that models can be compared by it."
            f" Received: values of shape {losses.shape} for {len(labels)} samples"
        )
    return "loss", losses.reshape(len(labels), -1).mean(axis=1).astype(np.float64)


def _predict(model: keras.Model, data: Samples) -> np.ndarray:
    inputs, signature = model_inputs(model, data), input_signature(model, data.x)
    chunks = []
    for batch in batches(inputs, signature.batch_size or 256):
        outputs = keras.tree.flatten(model(signature.pack(keras_arrays(batch)), training=False))
        if len(outputs) != 1:
            raise InvalidArgumentError(
                "Models with several outputs can't be compared by one score; evaluate them with"
                f" model.evaluate. Received: {len(outputs)} outputs"
            )
        chunks.append(keras.ops.convert_to_numpy(outputs[0]))
    return np.concatenate(chunks)


def _predicted_classes(labels: np.ndarray, outputs: np.ndarray) -> np.ndarray | None:
    """Return the predicted classes if labels and outputs are those of a classifier, else None."""
    if outputs.ndim != 2:
        return None
    count = outputs.shape[1]
    integers = labels.dtype.kind in "iub" or (
        count > 1 and bool(np.all(np.isin(labels, np.arange(count))))
    )
    class_numbers = integers and labels.reshape(len(labels), -1).shape[1] == 1
    one_hot = (
        labels.shape == outputs.shape
        and count > 1
        and bool(np.all(np.isin(labels, (0, 1))))
        and bool(np.all(labels.sum(1) == 1))
    )
    if count > 1 and (class_numbers or one_hot):
        return outputs.argmax(-1)
    if count == 1 and class_numbers and bool(np.all(np.isin(labels, (0, 1)))):
        probabilities = bool(np.all((outputs >= 0) & (outputs <= 1)))
        return (outputs[:, 0] > (0.5 if probabilities else 0.0)).astype(labels.dtype)
    return None
