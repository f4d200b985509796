"""What a model predicts for labelled samples, output by output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.keras_internals import keras_mask
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.lazy import loaded
from keras_prelu.data.output_losses import (
    OutputLoss,
    OutputStructure,
    output_losses,
    sample_losses,
)
from keras_prelu.data.samples import CheckedSamples, Samples, batches, model_inputs
from keras_prelu.data.signature import input_signature
from keras_prelu.errors import DataError, InvalidArgumentError

__all__ = ["Predictions", "losses_by_sample", "mean_loss_of", "predict"]

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model predicts for labelled samples.

    Attributes:
        structure: `OutputStructure` of the model.
        outputs: Tuple of arrays, one for each output.
        labels: Tuple of arrays, one for each output; None for an output without labels.
        weights: Tuple of arrays of weights of the samples, one for each output, or None.
        masks: Tuple of the masks that the model attached to its outputs, or None.
    """

    structure: OutputStructure
    outputs: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray | None, ...]
    weights: tuple[np.ndarray | None, ...]
    masks: tuple[np.ndarray | None, ...]

    def __len__(self) -> int:
        return len(self.outputs[0])

    @property
    def shape(self) -> Any:
        """The shape of the output for one sample, or a tuple of such for several outputs."""
        shapes = tuple(output.shape[1:] for output in self.outputs)
        return shapes[0] if len(shapes) == 1 else shapes


def predict(model: keras.Model, data: CheckedSamples) -> Predictions:
    """Return what a model predicts for samples, with their labels and weights by output.

    Args:
        model: Keras model. It is built.
        data: `CheckedSamples` with labels that fit the model.

    Raises:
        DataError: The labels or weights are of other outputs.
    """
    inputs, signature = model_inputs(model, data), input_signature(model, data.x)
    structure: OutputStructure | None = None
    outputs: list[list[np.ndarray]] = []
    masks: list[list[np.ndarray | None]] = []
    for batch in batches(inputs, signature.batch_size or _BATCH):
        with without_gradients():
            predicted = model(signature.pack(keras_arrays(batch)), training=False)
        structure = structure or OutputStructure.of(model, predicted)
        leaves = keras.tree.flatten(predicted)
        outputs.append([keras.ops.convert_to_numpy(leaf) for leaf in leaves])
        masks.append([_as_array(keras_mask(leaf)) for leaf in leaves])
    assert structure is not None
    labels, weights = _by_output(structure, data)
    return Predictions(
        structure=structure,
        outputs=tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True)),
        labels=labels,
        weights=weights,
        masks=tuple(_joined(parts) for parts in zip(*masks, strict=True)),
    )


def mean_loss_of(
    model: keras.Model, outputs: Any, samples: Samples, loss: Any, loss_weights: Any
) -> Any:
    """Return the loss of a batch as a scalar tensor, summed over outputs as in training.

    Args:
        model: Keras model.
        outputs: Structure of tensors. What the model predicts for the samples.
        samples: `Samples` with labels.
        loss: Losses as in `compile`.
        loss_weights: Their weights as in `compile`, or None.
    """
    structure = OutputStructure.of(model, outputs)
    leaves = keras.tree.flatten(outputs)
    labels, weights = _by_output(structure, samples)
    terms = []
    for one in output_losses(loss, loss_weights, structure):
        found = sample_losses(
            one,
            keras.ops.convert_to_tensor(_labels_of(one, labels, structure)),
            leaves[one.output],
            weights[one.output],
            keras_mask(leaves[one.output]),
        )
        mean = keras.ops.divide_no_nan(keras.ops.mean(found.values), keras.ops.mean(found.mass))
        terms.append(one.weight * mean)
    return sum(terms)


def losses_by_sample(
    predictions: Predictions, loss: Any, loss_weights: Any
) -> dict[str, np.ndarray]:
    """Return the losses of each sample: "loss", the sum, and that of each output by its name.

    Their means are what Keras's `evaluate` reports, without penalties on weights.

    Args:
        predictions: `Predictions`.
        loss: Losses as in `compile`.
        loss_weights: Their weights as in `compile`, or None.

    Raises:
        DataError: There are no labels for an output with a loss.
        InvalidArgumentError: There is no loss, or it gives no value for each sample. A
            `ValueError`.
    """
    losses = output_losses(loss, loss_weights, predictions.structure)
    if not losses:
        raise InvalidArgumentError(
            "The model is no classifier for these labels and is not compiled: give a `loss` to"
            " compare by."
        )
    names = predictions.structure.names
    total = np.zeros(len(predictions))
    by_output: dict[str, np.ndarray] = {}
    for one in losses:
        values = _of_output(one, predictions)
        name = names[one.output]
        by_output[name] = by_output.get(name, 0.0) + values
        total += one.weight * values
    return {"loss": total, **by_output}


def _by_output(
    structure: OutputStructure, samples: Samples
) -> tuple[tuple[np.ndarray | None, ...], tuple[np.ndarray | None, ...]]:
    """Return the labels and the weights of samples for each output."""
    labels = structure.aligned(loaded(samples.y), "labels")
    weights = loaded(samples.weights)
    is_for_all = weights is not None and not isinstance(weights, (dict, list, tuple))
    of_outputs = (
        [weights] * len(structure) if is_for_all else structure.aligned(weights, "sample weights")
    )
    return (
        tuple(None if part is None else np.asarray(part) for part in labels),
        tuple(None if part is None else np.asarray(part) for part in of_outputs),
    )


def _labels_of(
    loss: OutputLoss, labels: Sequence[np.ndarray | None], structure: OutputStructure
) -> np.ndarray:
    of_output = labels[loss.output]
    if of_output is None:
        raise DataError(
            f"There are no labels for the model's output '{structure.names[loss.output]}', which"
            " has a loss."
        )
    return of_output


def _of_output(loss: OutputLoss, predictions: Predictions) -> np.ndarray:
    """Return the loss of each sample at an output."""
    labels = _labels_of(loss, predictions.labels, predictions.structure)
    weights, mask = predictions.weights[loss.output], predictions.masks[loss.output]
    values, mass = [], []
    for start in range(0, len(predictions), _BATCH):
        rows = slice(start, start + _BATCH)
        found = sample_losses(
            loss,
            keras.ops.convert_to_tensor(labels[rows]),
            keras.ops.convert_to_tensor(predictions.outputs[loss.output][rows]),
            None if weights is None else weights[rows],
            None if mask is None else mask[rows],
        )
        values.append(keras.ops.convert_to_numpy(found.values))
        mass.append(keras.ops.convert_to_numpy(found.mass))
    share = float(np.mean(np.concatenate(mass), dtype=np.float64))
    result: np.ndarray = np.concatenate(values).astype(np.float64)
    return result / share if share else result


def _as_array(mask: Any) -> np.ndarray | None:
    return None if mask is None else keras.ops.convert_to_numpy(mask)


def _joined(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    found = [mask for mask in masks if mask is not None]
    return np.concatenate(found) if len(found) == len(masks) else None
