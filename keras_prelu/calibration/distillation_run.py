"""One distillation: the blocks of a converted model trained in turn, and what each is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.calibration.acceptance import is_improvement
from keras_prelu.calibration.activation_store import Activations, ActivationStore, size_in_bytes
from keras_prelu.calibration.block_training import (
    Counterpart,
    RandomBatches,
    executed_steps,
    own_operation,
    run_block,
    train_block,
)
from keras_prelu.calibration.blocks import Block, split_into_blocks
from keras_prelu.calibration.config import CalibrationConfig, DistillationConfig
from keras_prelu.calibration.layerwise import Progress
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import BlockDistillation, Distillation
from keras_prelu.calibration.samples import CalibrationSamples, split_samples
from keras_prelu.calibration.verification import mean_error
from keras_prelu.data.samples import batches
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.plan import Slot, Step
from keras_prelu.graph.saved_weights import SavedWeights
from keras_prelu.typing import Tensor
from keras_prelu.verification.probes import COUNT

__all__ = ["DistillationRun"]

_POSITIONS = 1024
"""Output positions in a batch: a block of large feature maps needs few samples for a gradient."""
_FEWEST_SAMPLES, _MOST_SAMPLES = 4, 32

_BATCH_SHARE = 0.25
"""The share of the memory limit that the tensors of a batch of training may take."""
_TENSORS = 3
"""How often each output of a step is in memory: for the backward pass, as a gradient, and while it
is computed."""

_ROUNDING = 1e-12
"""An error that is float32's rounding, which training could only raise."""


class DistillationRun:
    """One distillation of a pair of models."""

    def __init__(
        self,
        pair: ModelPair,
        samples: CalibrationSamples,
        config: CalibrationConfig,
        distillation: DistillationConfig,
        size: int,
        store: ActivationStore,
        on_step: Progress | None,
    ) -> None:
        self._pair = pair
        self._config = config
        self._distillation = distillation
        self._store = store
        self._on_step = on_step
        self._held_out = split_samples(len(samples), size, config.seed).held_out
        # The positions, in each stored batch, of the samples that train.
        self._fitting = [
            np.flatnonzero(~self._held_out[start : start + size])
            for start in range(0, len(samples), size)
        ]
        columns = zip(*batches(samples.arrays, size), strict=True)
        self._inputs = [store.wrap(arrays) for arrays in columns]
        held_out = [array[self._held_out] for array in samples.arrays]
        self._held_out_batches = list(batches(held_out, size))
        self._blocks = split_into_blocks(pair.plan)
        # All variables, since `fit` on JAX takes the values of those that aren't trained, too.
        self._old_values = SavedWeights(pair.converted.variables)

    def undo(self) -> None:
        """Restore the old values of all variables."""
        self._old_values.restore()

    def result(self) -> Distillation:
        """Train all blocks, and return the record."""
        targets = self._model_outputs(self._pair.counterpart)
        before = self._model_outputs()
        records = tuple(self._train_all())
        after = self._model_outputs()
        error_before, error_after = mean_error(before, targets), mean_error(after, targets)
        kept = is_improvement(before, after, targets)
        if not kept:
            self.undo()
        return Distillation(
            samples=len(self._held_out),
            held_out=int(self._held_out.sum()),
            error_before=error_before,
            error_after=error_after if kept else error_before,
            kept=kept,
            blocks=records,
        )

    def _model_outputs(self, counterpart: Counterpart = own_operation) -> list[np.ndarray]:
        """Return the outputs of a model on held-out samples."""

        def run_step(step: Step, values: Mapping[Slot, Tensor]) -> list[Tensor]:
            return step.execute(values, counterpart(step))

        with without_gradients():
            collected = [
                run_plan(
                    self._pair.plan, [ops.convert_to_tensor(array) for array in batch], run_step
                )
                for batch in self._held_out_batches
            ]
        return [
            np.concatenate([_to_array(each) for each in column])
            for column in zip(*collected, strict=True)
        ]

    def _train_all(self) -> Iterator[BlockDistillation]:
        """Train each block on what the blocks before it compute now."""
        original = converted = self._inputs
        for number, block in enumerate(self._blocks):
            targets = self._outputs(block, original, self._pair.counterpart)
            outputs, record = self._train(number, block, converted, targets)
            yield record
            self._report(number + 1)
            for activations in (*original, *converted):
                self._store.discard(activations)
            original, converted = targets, outputs

    def _train(
        self,
        number: int,
        block: Block,
        inputs: Sequence[Activations],
        targets: Sequence[Activations],
    ) -> tuple[list[Activations], BlockDistillation]:
        """Train a block, and return its outputs with the record."""
        outputs = self._outputs(block, inputs)
        error = self._error(outputs, targets)
        if not block.variables or not error > _ROUNDING:
            return outputs, _record(block, steps=0, before=error, after=error)
        size = self._batch_size(block, inputs, targets)
        steps = self._step_count(size)
        old_values = SavedWeights(block.variables)
        train_block(
            block,
            RandomBatches(
                inputs,
                targets,
                self._fitting,
                size=size,
                steps=steps,
                seed=(self._config.seed, number),
            ),
            variances=[_variance(each) for each in targets],
            learning_rate=self._distillation.learning_rate * _weight_size(block),
            on_step=lambda done: self._report(number + done / steps),
        )
        trained_outputs = self._outputs(block, inputs)
        trained_error = self._error(trained_outputs, targets)
        record = _record(block, steps=steps, before=error, after=trained_error)
        if record.kept:
            outputs, trained_outputs = trained_outputs, outputs
        else:
            old_values.restore()
        for activations in trained_outputs:
            self._store.discard(activations)
        return outputs, record

    def _outputs(
        self,
        block: Block,
        inputs: Sequence[Activations],
        counterpart: Counterpart = own_operation,
    ) -> list[Activations]:
        """Return the outputs of a block on all samples."""
        outputs = [Activations() for _ in block.outputs]
        for index in range(len(inputs[0])):
            values = {slot: each[index] for slot, each in zip(block.inputs, inputs, strict=True)}
            with without_gradients():
                tensors = run_block(block, values, counterpart)
            for activations, tensor in zip(outputs, tensors, strict=True):
                self._store.add(activations, tensor)
        return outputs

    def _error(self, outputs: Sequence[Activations], targets: Sequence[Activations]) -> float:
        """Return the error of a block's outputs on held-out samples."""
        return mean_error(
            [self._held_out_rows(each) for each in outputs],
            [self._held_out_rows(each) for each in targets],
        )

    def _held_out_rows(self, activations: Activations) -> np.ndarray:
        rows = []
        for index, fitting in enumerate(self._fitting):
            batch = _to_array(activations[index])
            rows.append(np.delete(batch, fitting, axis=0))
        return np.concatenate(rows)

    def _batch_size(
        self, block: Block, inputs: Sequence[Activations], targets: Sequence[Activations]
    ) -> int:
        """Return the number of samples in a batch of training."""
        fixed_size: int | None = self._pair.converted.inputs[0].shape[0]
        if fixed_size is not None:
            return fixed_size
        positions = max(_positions(each[0].shape) for each in targets)
        size = min(max(-(-_POSITIONS // positions), _FEWEST_SAMPLES), _MOST_SAMPLES)
        affordable = _BATCH_SHARE * self._config.memory_limit / _bytes_per_sample(block, inputs)
        return max(1, min(size, int(affordable)))

    def _step_count(self, size: int) -> int:
        fitting = len(self._held_out) - int(self._held_out.sum())
        return max(1, round(self._distillation.epochs * fitting / size))

    def _report(self, blocks_done: float) -> None:
        """Report the progress in hundredths of a block."""
        if self._on_step is not None:
            self._on_step(round(100 * blocks_done), 100 * len(self._blocks))


def _bytes_per_sample(block: Block, inputs: Sequence[Activations]) -> float:
    """Return the bytes that training a block takes for each sample of a batch."""
    values = {slot: each[0][:COUNT] for slot, each in zip(block.inputs, inputs, strict=True)}
    count = len(values[block.inputs[0]])
    with without_gradients():
        sizes = [sum(map(size_in_bytes, outputs)) for _, outputs in executed_steps(block, values)]
    return max(1.0, _TENSORS * sum(sizes) / count)


def _record(block: Block, *, steps: int, before: float, after: float) -> BlockDistillation:
    kept = after < before  # False where `after` is NaN.
    return BlockDistillation(
        path=block.path,
        layers=len({id(step.operation) for step in block.steps}),
        steps=steps,
        error_before=before,
        error_after=after if kept else before,
        kept=kept,
    )


def _variance(activations: Activations) -> float:
    """Return the variance over all samples, and 1 for constant activations."""
    sizes, means, squares = zip(*map(_moments, activations), strict=True)
    mean = np.average(means, weights=sizes)
    variance = float(np.average(squares, weights=sizes) - mean**2)
    return variance if variance > 0 else 1.0


def _moments(batch: Tensor) -> tuple[int, float, float]:
    array = _to_array(batch)
    return (
        array.size,
        float(array.mean(dtype=np.float64)),
        float(np.square(array, dtype=np.float64).mean()),
    )


def _weight_size(block: Block) -> float:
    """Return the root mean square of the weight matrices that are trained."""
    matrices = [_to_array(variable) for variable in block.variables if len(variable.shape) > 1]
    total = sum(matrix.size for matrix in matrices)
    squares = sum(float(np.square(matrix, dtype=np.float64).sum()) for matrix in matrices)
    return math.sqrt(squares / total) if squares else 1.0


def _positions(shape: Sequence[int]) -> int:
    """Return the number of positions with channels in a sample of a tensor's shape."""
    is_channels_first = keras.config.image_data_format() == "channels_first"
    return math.prod(shape[2:] if is_channels_first else shape[1:-1])


def _to_array(tensor: Any) -> np.ndarray:
    array: np.ndarray = ops.convert_to_numpy(ops.cast(tensor, "float32"))
    return array
