"""Similarity of the representations of two networks on the same samples, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import Samples, as_samples, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.errors import DataError
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.plan import Slot, Step, compile_plan
from keras_prelu.utils.checks import check_integer

__all__ = ["LayerSimilarity", "layer_similarity"]


@dataclass(frozen=True)
class LayerSimilarity:
    """How similar the inputs of one layer are in two networks.

    Attributes:
        path: String. The layer's path, the same in both networks; "output", "output#2", … for the
            outputs of the networks.
        cka: Float. Linear centred kernel alignment: 1 if one network's representation is a rotation
            and scaling of the other's, 0 if they have nothing in common, and NaN if one of them
            does not vary.
        explained: Float, or None if the shapes differ. The share of the first network's variance
            that the second's values explain without any fit: 1 if they are equal, less than 0 if
            they are farther away than the mean.
    """

    path: str
    cka: float
    explained: float | None


@keeps_state("model", "other")
def layer_similarity(
    model: keras.Model, other: keras.Model, samples: Any, *, limit: int = 256
) -> tuple[LayerSimilarity, ...]:
    """Compare the inputs of the linear layers of two networks, and their outputs.

    Args:
        model: Keras model, such as the original one. Nested models are included.
        other: Keras model, such as the converted one. Layers are matched by
            their paths.
        samples: Unlabeled samples, as both models take them.
        limit: Integer. The number of samples, counted from the first, that are used. All are in
            memory at once, and so are products of pairs of samples. Defaults to 256.

    Returns:
        A tuple of `LayerSimilarity`, one for each linear layer that both models have, in the order
        of `model`, then one for each output that both have.

    Raises:
        DataError: If the samples do not fit, or if there are fewer than three.

    Example:

    >>> layers = keras_prelu.diagnostics.layer_similarity(model, converted, x_test)
    >>> min(layers, key=lambda layer: layer.explained).path

    References:
        Kornblith et al. 2019, https://arxiv.org/abs/1905.00414.
    """
    check_integer("limit", limit, minimum=1)
    data = as_samples(samples, read_for=model, labels="ignored")
    first, second = (_representations(network, data, limit) for network in (model, other))
    return tuple(
        LayerSimilarity(
            path=path, cka=_cka(rows, second[path]), explained=_explained(rows, second[path])
        )
        for path, rows in first.items()
        if path in second
    )


def _representations(model: keras.Model, samples: Samples, limit: int) -> dict[str, np.ndarray]:
    """Return the inputs of each linear layer at its first call, and the model's outputs.

    Each array has a row for each sample.
    """
    samples = as_samples(samples, model=model)
    graph = with_declared_inputs(model, samples.x)
    inputs = [np.asarray(array[:limit]) for array in model_inputs(model, samples)]
    if len(inputs[0]) < 3:
        raise DataError(
            f"Comparing representations needs at least three samples. Received: {len(inputs[0])}"
        )
    representations: dict[str, np.ndarray] = {}

    def run_step(step: Step, values: Mapping[Slot, Any]) -> list[Any]:
        if linear_view(step.operation) is not None and step.index == 0:
            representations[step.path] = _rows(values[step.inputs[0]])
        return step.execute(values)

    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    outputs = run_plan(compile_plan(graph), tensors, run_step)
    for number, output in enumerate(outputs, start=1):
        representations["output" if number == 1 else f"output#{number}"] = _rows(output)
    return representations


def _rows(tensor: Any) -> np.ndarray:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return values.reshape(len(values), -1)


def _cka(first: np.ndarray, second: np.ndarray) -> float:
    """Return the alignment, computed from pairs of samples, which are fewer than of features."""
    grams = [
        centred @ centred.T
        for centred in ((rows - rows.mean(axis=0)).astype(np.float64) for rows in (first, second))
    ]
    scale = float(np.linalg.norm(grams[0]) * np.linalg.norm(grams[1]))
    return float(np.sum(grams[0] * grams[1])) / scale if scale else float("nan")


def _explained(first: np.ndarray, second: np.ndarray) -> float | None:
    if first.shape != second.shape:
        return None
    spread = float(np.square(first - first.mean(axis=0), dtype=np.float64).sum())
    error = float(np.square(first - second, dtype=np.float64).sum())
    return 1.0 - error / spread if spread else float(error == 0)
