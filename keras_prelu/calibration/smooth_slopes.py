"""Slopes of the PReLU layers that replace smooth activations, by least squares on samples.

A PReLU can't equal a smooth activation f, but the next layer can scale and shift each channel. So
the slope α is that of the best fit f(x) ≈ s·(max(x, 0) + α·min(x, 0)) + c over the inputs x that
the activation gets in the original. Only α is set; s and c are left to the refit of later layers.

Some of the inputs are quantiles of the standard normal distribution, so that channels with inputs
on one side of 0, and layers that are not seen (`hook_seen_calls`), have an answer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from keras import ops

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.calibration.threshold_search import set_slope
from keras_prelu.data.samples import batches
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan
from keras_prelu.layers import PReLU
from keras_prelu.typing import FloatArray, Tensor

__all__ = ["Smooth", "fit_smooth_slopes"]

_SMALLEST, _LARGEST = 0.001, 0.99
"""The limits of fitted slopes: a unit stays alive, and no layer becomes linear."""
_NORMAL_SHARE = 0.01
"""The weight of the normal quantiles, where the samples weigh 1."""
_NORMAL_COUNT = 64


@dataclass(frozen=True)
class Smooth:
    """A PReLU layer, and the smooth activation that it replaces.

    Attributes:
        layer: `PReLU`. Built.
        function: Function of a tensor, elementwise.
    """

    layer: PReLU
    function: Callable[[Tensor], Tensor]


def fit_smooth_slopes(
    plan: ExecutionPlan,
    inputs: Sequence[np.ndarray],
    replaced: Mapping[str, Smooth],
    *,
    batch_size: int,
) -> dict[str, float]:
    """Set the slopes of PReLU layers that replace smooth activations, in place.

    Args:
        plan: `ExecutionPlan` of the converted model, whose weights are those of the original. It is
            executed with the smooth activations in place of the PReLUs.
        inputs: Sequence with an array of samples for each input.
        replaced: Mapping from path to `Smooth`.
        batch_size: Integer. Samples in a batch.

    Returns:
        A dict from path to the mean of the layer's new slopes, which are from 0.001 to 0.99. Slopes
        that the layer's map can't represent keep their value.
    """
    fits = {id(each.layer): _Fit(each) for each in replaced.values()}

    def observe(call: HookedCall) -> Tensor:
        return fits[id(call.target.owner)].observe(call.inputs)

    targets = [HookTarget(each.layer) for each in replaced.values()]
    operations = [step.operation for step in plan.steps]
    with without_gradients(), state_kept(*operations), hook_seen_calls(targets, observe):
        for batch in batches(inputs, batch_size):
            run_plan(plan, [ops.convert_to_tensor(array) for array in batch])
    return {path: fits[id(each.layer)].set_slopes() for path, each in replaced.items()}


class _Fit:
    """The fit of one layer, from sums over its inputs.

    Args:
        smooth: `Smooth`.
    """

    def __init__(self, smooth: Smooth) -> None:
        self._layer, self._function = smooth.layer, smooth.function
        self._shape = tuple(smooth.layer.beta.shape)
        self._count = 0
        self._sums: FloatArray = np.zeros((7, *self._shape))

    def observe(self, inputs: Tensor) -> Tensor:
        """Add the inputs of a call to the sums, and return what the smooth activation computes."""
        outputs = self._function(inputs)
        shared = [axis for axis, size in enumerate(self._shape, 1) if size == 1]
        means = [
            to_float64(ops.mean(moment, axis=[0, *shared], keepdims=True))[0]
            for moment in _moments(inputs, outputs)
        ]
        count = int(np.prod(inputs.shape)) // int(np.prod(self._shape))
        self._count += count
        self._sums += count * np.stack(means)
        return outputs

    def set_slopes(self) -> float:
        """Set the slopes of the layer, and return their mean."""
        layer = self._layer
        present = to_float64(layer.alpha)
        slopes = np.clip(self._best_slopes(), _SMALLEST, _LARGEST)
        slopes = np.where(layer.parameterization.contains(slopes), slopes, present)
        set_slope(layer, slopes)
        return float(np.mean(to_float64(layer.alpha)))

    def _best_slopes(self) -> FloatArray:
        """Return the ratio of the two sides' factors in the best fit with an offset."""
        means = self._sums / max(self._count, 1) + self._normal_moments()
        positive, negative, positive2, negative2, f, f_positive, f_negative = means
        weight, zero = float(self._count > 0) + _NORMAL_SHARE, np.zeros(self._shape)
        gram = np.array(
            [
                [positive2, zero, positive],
                [zero, negative2, negative],
                [positive, negative, np.full(self._shape, weight)],
            ]
        )
        right = np.array([f_positive, f_negative, f])
        # Axes (slopes, 3, 3) and (slopes, 3, 1).
        solution = np.linalg.solve(
            np.moveaxis(gram, (0, 1), (-2, -1)), np.moveaxis(right, 0, -1)[..., None]
        )
        of_positive, of_negative = solution[..., 0, 0], solution[..., 1, 0]
        return of_negative / np.maximum(of_positive, _SMALLEST)

    def _normal_moments(self) -> FloatArray:
        """Return the moments of the normal quantiles, weighted, for each slope."""
        quantiles = NormalDist().quantiles(_NORMAL_COUNT + 1)
        inputs = ops.convert_to_tensor(np.reshape(quantiles, (-1, 1)), dtype="float32")
        moments = [
            _NORMAL_SHARE * float(to_float64(moment).mean())
            for moment in _moments(inputs, self._function(inputs))
        ]
        return np.stack([np.full(self._shape, moment) for moment in moments])


def _moments(inputs: Tensor, outputs: Tensor) -> list[Tensor]:
    """Return what the equations of the fit are summed from."""
    x, f = (ops.cast(tensor, "float32") for tensor in (inputs, outputs))
    positive, negative = ops.maximum(x, 0), ops.minimum(x, 0)
    return [
        positive,
        negative,
        ops.square(positive),
        ops.square(negative),
        f,
        f * positive,
        f * negative,
    ]
