"""What two networks make of the same samples, layer by layer: an original and what was converted
from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.data.samples import model_inputs
from keras_prelu.errors import DataError
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import Slot, compile_plan

__all__ = ["LayerSimilarity", "layer_similarity"]


@dataclass(frozen=True)
class LayerSimilarity:
    """What reaches a layer in two networks.

    Attributes:
        path: The layer's, the same in both; "output" or "output#2", … for what the networks put
            out.
        cka: Linear centred kernel alignment: 1 where one network's representation is a rotation and
            scaling of the other's, 0 where they have nothing in common. NaN where one of them does
            not vary.
        explained: The share of the first network's variance that the second's values account for,
            as they are: 1 where they are equal, less than 0 where they are farther away than the
            mean. None where the shapes differ.
    """

    path: str
    cka: float
    explained: float | None


def layer_similarity(
    model: keras.Model, other: keras.Model, samples: Any, *, limit: int = 256
) -> tuple[LayerSimilarity, ...]:
    """Compare what reaches the linear layers of two networks, and their outputs.

    Args:
        model: Sequential or Functional, nested models included; the original.
        other: Another, such as the converted model. Layers are matched by their paths.
        samples: Unlabeled samples, as both take them.
        limit: How many of them are used: all are in memory at once, and products of pairs of
            samples are. Defaults to 256.

    Returns:
        A record for each linear layer that both have, in the order of `model`, then for each output
        that both have.

    Raises:
        ConversionError: A model has no graph.
        DataError: The samples do not fit, or there are fewer than three.

    Example:

    >>> min(keras_prelu.diagnostics.layer_similarity(original, converted, x),
    ...     key=lambda layer: layer.explained)

    References:
        Kornblith et al. 2019, https://arxiv.org/abs/1905.00414.
    """
    first, second = (_read(network, samples, limit) for network in (model, other))
    return tuple(
        LayerSimilarity(path, _cka(values, second[path]), _explained(values, second[path]))
        for path, values in first.items()
        if path in second
    )


def _read(model: keras.Model, samples: Any, limit: int) -> dict[str, np.ndarray]:
    """What each linear layer reads at its first call, and what the model puts out, a row for each
    sample."""
    inputs = [np.asarray(array[:limit]) for array in model_inputs(model, samples)]
    if len(inputs[0]) < 3:
        raise DataError(
            f"Comparing representations needs three samples at least. Received: {len(inputs[0])}"
        )
    plan, found = compile_plan(model), {}
    outputs: dict[Slot, Any] = {}
    for executed in iterate_steps(plan, [keras.ops.convert_to_tensor(array) for array in inputs]):
        step = executed.step
        if linear_view(step.operation) is not None and step.index == 0:
            found[step.path] = _rows(executed.inputs[0])
        outputs.update(zip(step.outputs, executed.outputs, strict=True))
        outputs = {slot: tensor for slot, tensor in outputs.items() if plan.is_output(slot)}
    for number, slot in enumerate(plan.outputs, start=1):
        found["output" if number == 1 else f"output#{number}"] = _rows(outputs[slot])
    return found


def _rows(tensor: Any) -> np.ndarray:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return values.reshape(len(values), -1)


def _cka(first: np.ndarray, second: np.ndarray) -> float:
    """By products of pairs of samples, which are fewer than pairs of features."""
    grams = [
        centred @ centred.T
        for centred in ((rows - rows.mean(axis=0)).astype(np.float64) for rows in (first, second))
    ]
    size = float(np.linalg.norm(grams[0]) * np.linalg.norm(grams[1]))
    return float(np.sum(grams[0] * grams[1])) / size if size else float("nan")


def _explained(first: np.ndarray, second: np.ndarray) -> float | None:
    if first.shape != second.shape:
        return None
    spread = float(np.square(first - first.mean(axis=0), dtype=np.float64).sum())
    error = float(np.square(first - second, dtype=np.float64).sum())
    return 1.0 - error / spread if spread else float(error == 0)
