"""One slope for all channels of a PReLU layer: the nearest LeakyReLU.

A LeakyReLU of slope a differs from the PReLU by (α − a)·min(x, 0). Over samples, the sum of squares
of this is least at the mean of the slopes α, weighted by the sums of min(x, 0)² that they meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.data.samples import batches
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan
from keras_prelu.layers import PReLU
from keras_prelu.typing import FloatArray

__all__ = ["mean_slope", "shared_slope", "shared_slopes"]


def shared_slopes(
    plan: ExecutionPlan,
    inputs: Sequence[np.ndarray],
    layers: Mapping[str, PReLU],
    *,
    batch_size: int,
) -> dict[str, float]:
    """Return for each layer the slope that all its channels share at the least error.

    Args:
        plan: `ExecutionPlan` of the model. It is executed.
        inputs: Sequence with an array of samples for each input.
        layers: Mapping from path to `PReLU`. Built layers of the model.
        batch_size: Integer. Samples in a batch.

    Returns:
        A dict from path to slope, at least 0. It is the plain mean for a layer that is not seen
        (`hook_seen_calls`) or has no negative inputs.
    """
    sums: dict[int, FloatArray] = {
        id(layer): np.zeros(tuple(layer.beta.shape)) for layer in layers.values()
    }

    def add(call: HookedCall) -> None:
        layer = call.target.owner
        squares = ops.square(ops.minimum(ops.cast(call.inputs, "float32"), 0))
        shared = [axis for axis, size in enumerate(layer.beta.shape, 1) if size == 1]
        sums[id(layer)] += to_float64(ops.sum(squares, axis=[0, *shared], keepdims=True))[0]

    targets = [HookTarget(layer) for layer in layers.values()]
    operations = [step.operation for step in plan.steps]
    with without_gradients(), state_kept(*operations), hook_seen_calls(targets, add):
        for batch in batches(inputs, batch_size):
            run_plan(plan, [ops.convert_to_tensor(array) for array in batch])
    return {path: shared_slope(layer, sums[id(layer)]) for path, layer in layers.items()}


def shared_slope(layer: PReLU, weights: FloatArray | None = None) -> float:
    """Return the mean of a layer's slopes, at least 0, as a LeakyReLU's has to be.

    Args:
        layer: `PReLU`. Built.
        weights: Array of the slopes' shape, or None. Their weights. Defaults to None, equal ones.
    """
    return max(0.0, mean_slope(to_float64(layer.alpha), weights))


def mean_slope(slopes: FloatArray, weights: FloatArray | None = None) -> float:
    """Return the mean of slopes by their weights; the plain mean if there are none above 0."""
    if weights is None or not weights.sum() > 0:
        return float(slopes.mean())
    return float(np.average(slopes, weights=weights))
