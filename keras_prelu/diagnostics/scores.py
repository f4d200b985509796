"""The scores of a model on each sample, and the values of its compiled metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import keras_mask
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.labels import check_labels
from keras_prelu.data.losses import resolved_loss
from keras_prelu.data.samples import Samples, as_samples, batches, model_inputs
from keras_prelu.data.signature import input_signature
from keras_prelu.diagnostics.compiled_metrics import MetricValues, Outputs, metric_values
from keras_prelu.diagnostics.predicted_classes import predicted_classes
from keras_prelu.errors import InvalidArgumentError, reason_of
from keras_prelu.graph.model_state import keeps_state

__all__ = ["Scores", "check_scores", "measure_scores", "sample_scores"]

_FEW = 8


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a model does on samples.

    Attributes:
        metric: String. "accuracy" for classifiers, else "loss".
        values: NumPy array. The metric on each sample.
        metrics: Tuple of `MetricValues` of the other metrics that a model is compiled with.
        output_shape: Tuple of integers. The shape of the output for one sample; empty if it is not
            known.
    """

    metric: str
    values: np.ndarray
    metrics: tuple[MetricValues, ...] = ()
    output_shape: tuple[int, ...] = ()


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
    return Scores(
        metric=metric, values=values, metrics=others, output_shape=outputs.values.shape[1:]
    )


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
        InvalidArgumentError: If there is no loss, if it gives no value for each sample, if the
            model has several outputs, or if its metrics can't be computed. A `ValueError`.
    """
    data = as_samples(data, model=model, labels="required")
    check_labels(model, data, None)
    return _scored(model, np.asarray(data.y), _predict(model, data), loss)


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
    model: keras.Model, labels: np.ndarray, outputs: Outputs, loss: Any
) -> tuple[str, np.ndarray]:
    loss = resolved_loss(loss if loss is not None else getattr(model, "loss", None))
    predicted = predicted_classes(labels, outputs.values, loss)
    if predicted is not None:
        classes = labels.reshape(len(labels), -1)
        classes = classes.argmax(-1) if classes.shape[1] > 1 else classes[:, 0]
        return "accuracy", (predicted == classes).astype(np.float64)
    if loss is None:
        raise InvalidArgumentError(
            "The model is no classifier for these labels and is not compiled: give a `loss` to"
            " compare by."
        )
    losses = _loss_values(loss, labels, outputs.values)
    if losses.ndim == 0 or len(losses) != len(labels):
        raise InvalidArgumentError(
            "The loss must give a value for each sample, so that models can be compared by it."
            f" Received: values of shape {losses.shape} for {len(labels)} samples"
        )
    return "loss", _loss_by_sample(losses.astype(np.float64), outputs.mask)


def _loss_values(loss: Any, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    if labels.shape == outputs.shape[:-1] and outputs.shape[-1] == 1:
        # As Keras does in training; else the loss would compare each label with all outputs.
        labels = labels[..., None]
    try:
        return keras.ops.convert_to_numpy(
            function(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(outputs))
        )
    except Exception as error:  # Each backend has exceptions of its own, users' code any.
        name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
        raise InvalidArgumentError(
            f"The loss {name} can't be computed from labels of shape {labels.shape[1:]} and outputs"
            f" of shape {outputs.shape[1:]} a sample ({reason_of(error, 80)})."
        ) from error


def _loss_by_sample(losses: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return the loss of each sample, so that their mean is that of all entries, as in Keras.

    Where there is a mask, these are the entries that it keeps.
    """
    count = len(losses)
    if mask is None:
        return losses.reshape(count, -1).mean(axis=1)
    if losses.shape[: mask.ndim] != mask.shape:
        raise InvalidArgumentError(
            "The model's output has a mask, and the loss gives no value for each of its entries."
            f" Received: a mask of shape {mask.shape[1:]} and values of shape {losses.shape[1:]} a"
            " sample"
        )
    by_entry = losses.reshape(*mask.shape, -1).mean(axis=-1)
    kept = np.where(mask, by_entry, 0.0).reshape(count, -1).sum(axis=1)
    return kept * (count / max(1, int(mask.sum())))


def _predict(model: keras.Model, data: Samples) -> Outputs:
    inputs, signature = model_inputs(model, data), input_signature(model, data.x)
    chunks, masks = [], []
    for batch in batches(inputs, signature.batch_size or 256):
        outputs = keras.tree.flatten(model(signature.pack(keras_arrays(batch)), training=False))
        if len(outputs) != 1:
            raise InvalidArgumentError(
                "Models with several outputs can't be compared by one score; evaluate them with"
                f" model.evaluate. Received: {len(outputs)} outputs"
            )
        chunks.append(keras.ops.convert_to_numpy(outputs[0]))
        mask = keras_mask(outputs[0])
        if mask is not None:
            masks.append(keras.ops.convert_to_numpy(mask).astype(bool))
    return Outputs(values=np.concatenate(chunks), mask=np.concatenate(masks) if masks else None)
