"""How the memory limit of a calibration is divided: between batches, fits and activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.calibration.activation_store import size_in_bytes
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layer_rows import CHUNK_BYTES
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.model_state import state_kept
from keras_prelu.verification.probes import COUNT

__all__ = ["MemoryPlan", "plan_memory"]


_LARGEST_BATCH = 128
_BATCH_SHARE = 0.5
"""The share of the limit that the tensors of one batch may take."""
_TENSORS = 4
"""How often the inputs and outputs of the largest step are in memory while a batch is computed.

They are those of both models, and what an operation computes in between.
"""
_CHUNKS = 8
"""How many chunks of design rows are in memory at once, with what they are made from."""


@dataclass(frozen=True)
class MemoryPlan:
    """The division of a memory limit.

    Attributes:
        batch_size: Integer. Samples that pass through a layer at once.
        activations: Float. Bytes of activations to hold in memory.
    """

    batch_size: int
    activations: float


def plan_memory(
    pair: ModelPair, inputs: Sequence[np.ndarray], config: CalibrationConfig
) -> MemoryPlan:
    """Choose the size of batches, and how many bytes of activations to hold in memory.

    Args:
        pair: `ModelPair`. The models.
        inputs: Sequence of arrays, one for each input of the models. The samples.
        config: `CalibrationConfig`. The settings.

    Returns:
        A `MemoryPlan`. The batch size is the model's own fixed number or the config's, if there is
        one, and otherwise the largest power of two up to 128 that the limit allows.
    """
    fixed = pair.converted.inputs[0].shape[0]
    bytes_per_sample = _TENSORS * _largest_step(pair, inputs, fixed or COUNT)
    batch_size = fixed or config.batch_size
    if batch_size is None:
        affordable = _BATCH_SHARE * config.memory_limit / max(bytes_per_sample, 1.0)
        batch_size = 2 ** int(np.log2(np.clip(affordable, 1, _LARGEST_BATCH)))
    rest = config.memory_limit - batch_size * bytes_per_sample - _CHUNKS * CHUNK_BYTES
    return MemoryPlan(batch_size=batch_size, activations=max(rest, 0.0))


def _largest_step(pair: ModelPair, inputs: Sequence[np.ndarray], count: int) -> float:
    """Return the bytes of a sample's inputs and outputs of the step where they are largest."""
    batch = [keras.ops.convert_to_tensor(array[np.arange(count) % len(array)]) for array in inputs]
    with state_kept(*(step.operation for step in pair.plan.steps)):
        sizes = [
            sum(map(size_in_bytes, [*executed.inputs, *executed.outputs]))
            for executed in iterate_steps(pair.plan, batch)
        ]
    return max(sizes, default=0) / count
