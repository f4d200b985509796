"""The share of a ReLU's output that the next layer can't restore from the PReLU's output.

It depends on the number of channels and their correlation: a narrow layer can't undo what its
slopes add. The share is measured for each layer and slope on a few samples, by least squares
between the channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_prelu.calibration.ridge import RidgeProblem, RowBlock
from keras_prelu.data.samples import batches
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan
from keras_prelu.layers import PReLU

__all__ = ["unrestored_shares"]

_CHANNELS = 256
"""The largest number of channels of a layer to measure; more channels only ease restoring."""
_ROWS_PER_CHANNEL = 5
_MINIMUM_CHANNELS = 50
"""Layers with fewer channels get as many rows as layers with this number of channels."""


def unrestored_shares(
    plan: ExecutionPlan,
    inputs: Sequence[np.ndarray],
    layers: Mapping[str, PReLU],
    slopes: Sequence[float],
    *,
    batch_size: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Measure the share of each ReLU's output that can't be restored from the PReLU's output.

    Args:
        plan: `ExecutionPlan` of the converted model. It is executed with ReLUs in place of the
            PReLUs.
        inputs: Sequence with an array of samples for each input.
        layers: Mapping from path to `PReLU`. The layers to measure.
        slopes: Sequence of floats. The slopes to measure, in ascending order.
        batch_size: Integer. Samples in a batch.
        rng: NumPy generator that chooses channels and rows.

    Returns:
        A dict from path to an array with the share for each slope, which never decreases from one
        slope to the next; 1 for a layer that is not seen (`hook_seen_calls`), for which nothing
        tells what can be restored.
    """
    sampler = _RowSampler(layers, fraction=batch_size / len(inputs[0]), rng=rng)
    targets = [HookTarget(layer) for layer in layers.values()]
    operations = [step.operation for step in plan.steps]
    with state_kept(*operations), hook_seen_calls(targets, sampler.sample):
        for batch in batches(inputs, batch_size):
            run_plan(plan, [keras.ops.convert_to_tensor(array) for array in batch])
    return {
        path: _shares(sampler.rows_of(layer), slopes, layer.max_value)
        for path, layer in layers.items()
    }


class _RowSampler:
    """Sampler of rows of the pre-activations of PReLU layers.

    Args:
        layers: Mapping from path to `PReLU`. The layers to sample.
        fraction: Float. Share of the required rows to take from each batch.
        rng: NumPy generator that chooses channels and rows.
    """

    def __init__(
        self, layers: Mapping[str, PReLU], *, fraction: float, rng: np.random.Generator
    ) -> None:
        self._rows: dict[int, list[np.ndarray]] = {id(layer): [] for layer in layers.values()}
        self._channels: dict[int, np.ndarray] = {}
        self._fraction = fraction
        self._rng = rng

    def sample(self, call: HookedCall) -> keras.KerasTensor:
        """Take rows from the inputs of a PReLU, and return the output of a ReLU for the inputs."""
        layer, inputs = call.target.owner, call.inputs
        rows = keras.ops.convert_to_numpy(keras.ops.cast(inputs, "float32"))
        if layer.data_format == "channels_first":
            rows = np.moveaxis(rows, 1, -1)
        rows = rows.reshape(-1, rows.shape[-1])
        if id(layer) not in self._channels:
            self._channels[id(layer)] = self._rng.permutation(rows.shape[1])[:_CHANNELS]
        channels = self._channels[id(layer)]
        wanted = int(
            np.ceil(self._fraction * _ROWS_PER_CHANNEL * max(len(channels), _MINIMUM_CHANNELS))
        )
        chosen = self._rng.permutation(len(rows))[:wanted]
        self._rows[id(layer)].append(rows[chosen][:, channels])
        outputs = keras.ops.relu(inputs)
        if layer.max_value is None:
            return outputs
        return keras.ops.minimum(outputs, keras.ops.cast(layer.max_value, outputs.dtype))

    def rows_of(self, layer: PReLU) -> np.ndarray | None:
        """Return the rows (rows, channels) of a layer, or None if it was not seen."""
        rows = self._rows[id(layer)]
        return np.concatenate(rows) if rows else None


def _shares(
    rows: np.ndarray | None, slopes: Sequence[float], max_value: float | None
) -> np.ndarray:
    if rows is None:
        return np.ones(len(slopes))
    shares = [_unrestored_share(rows, slope, max_value) for slope in slopes]
    return np.asarray(np.maximum.accumulate(shares))


def _unrestored_share(pre_activations: np.ndarray, slope: float, max_value: float | None) -> float:
    """Return the relative squared error of the best affine map from PReLU's outputs to ReLU's.

    The error is measured on a quarter of the rows and divided by the variance of ReLU's outputs.
    """
    x = pre_activations.astype(np.float64)
    cap = np.inf if max_value is None else max_value
    targets, outputs = np.clip(x, 0.0, cap), np.minimum(np.where(x > 0, x, slope * x), cap)
    problem = RidgeProblem(unknowns=x.shape[1] + 1, outputs=x.shape[1])
    design = np.concatenate([outputs, np.ones((len(outputs), 1))], axis=1)
    problem.add(
        RowBlock(
            rows=design[None],
            residuals=(targets - outputs)[None],
            targets=targets[None],
            held_out=np.arange(len(x)) % 4 == 0,
        )
    )
    return min(problem.best().error, problem.error(None))
