"""The training of one block of a converted model on the outputs of its original's block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.blocks import Block
from keras_prelu.graph.plan import Slot, Step
from keras_prelu.typing import Tensor

__all__ = [
    "Counterpart",
    "RandomBatches",
    "executed_steps",
    "own_operation",
    "run_block",
    "train_block",
]

Counterpart = Callable[[Step], Any]
"""Returns what is called for a step: its own operation, or the one in the original."""


def own_operation(step: Step) -> Any:
    """Return the operation of a step."""
    return step.operation


_WARMUP = 10
"""Steps in which the learning rate rises, while Adam's second moments are still those of a few
batches."""


class RandomBatches(keras.utils.PyDataset):
    """Random batches of a block's inputs, with the outputs that the original computes.

    A batch is drawn from one of the stored batches, so that activations in a file are read one
    stored batch at a time.

    Args:
        inputs: Sequence of `Activations`, one for each input of the block.
        targets: Sequence of `Activations`, one for each output.
        samples: Sequence with an integer array for each stored batch: the positions in it of the
            samples that may be drawn.
        size: Integer. Samples in a batch.
        steps: Integer. Number of batches.
        seed: Sequence of integers. Seed of the draws.
    """

    def __init__(
        self,
        inputs: Sequence[Activations],
        targets: Sequence[Activations],
        samples: Sequence[np.ndarray],
        *,
        size: int,
        steps: int,
        seed: Sequence[int],
    ) -> None:
        super().__init__()
        self._inputs = inputs
        self._targets = targets
        self._samples = samples
        self._size = size
        self._steps = steps
        self._seed = seed
        counts = np.array([len(positions) for positions in samples])
        self._shares = counts / counts.sum()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        rng = np.random.default_rng([*self._seed, index])
        stored = int(rng.choice(len(self._samples), p=self._shares))
        available = self._samples[stored]
        drawn = rng.choice(available, self._size, replace=self._size > len(available))
        return (
            tuple(_rows(activations[stored], drawn) for activations in self._inputs),
            tuple(_rows(activations[stored], drawn) for activations in self._targets),
        )


def train_block(
    block: Block,
    batches: RandomBatches,
    variances: Sequence[float],
    learning_rate: float,
    on_step: Callable[[int], None],
) -> None:
    """Train the variables of a block by Adam, in place.

    The loss is the mean squared difference from the targets, relative to their variance. The
    learning rate follows half a cosine to 0. Layers run as in `predict`: statistics of
    BatchNormalization stay as they are, and nothing is dropped out.

    Args:
        block: `Block` with variables.
        batches: `RandomBatches`. One batch for each step.
        variances: Sequence of floats. The variance of each output's targets.
        learning_rate: Float. The largest learning rate.
        on_step: Callable. Called with the number of steps done, after each.
    """
    model = _BlockModel(block, variances)
    steps = len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / _WARMUP,
        decay_steps=max(1, steps - _WARMUP),
        warmup_target=learning_rate,
        warmup_steps=_WARMUP,
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        # JAX is too slow uncompiled. The others would take longer to compile than to train.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.fit(
        batches,
        epochs=1,
        shuffle=False,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda index, logs: on_step(index + 1)
            )
        ],
    )


class _BlockModel(keras.Model):
    """A block as a model that trains the variables of the block alone.

    The block's layers are called with tensors and never with symbolic ones: that would add nodes to
    the graph of the model that they belong to.
    """

    def __init__(self, block: Block, variances: Sequence[float]) -> None:
        super().__init__(name="block")
        self._block = block
        self._block_layers = list(
            {
                id(step.operation): step.operation
                for step in block.steps
                if isinstance(step.operation, keras.layers.Layer)
            }.values()
        )
        self._variances = tuple(variances)
        self.built = True

    @property
    def trainable_variables(self) -> list[Any]:
        return list(self._block.variables)

    @property
    def trainable_weights(self) -> list[Any]:
        return self.trainable_variables

    @property
    def non_trainable_variables(self) -> list[Any]:
        trained = {id(variable) for variable in self._block.variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    @property
    def non_trainable_weights(self) -> list[Any]:
        return self.non_trainable_variables

    def call(self, inputs: Any) -> tuple[Tensor, ...]:
        values = dict(zip(self._block.inputs, keras.tree.flatten(inputs), strict=True))
        return tuple(run_block(self._block, values))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the error of the outputs, without the penalties that layers add."""
        errors = [
            ops.mean(ops.square(ops.cast(output, "float32") - ops.cast(target, "float32")))
            / variance
            for output, target, variance in zip(
                keras.tree.flatten(y_pred), keras.tree.flatten(y), self._variances, strict=True
            )
        ]
        return sum(errors[1:], errors[0]) / len(errors)


def executed_steps(
    block: Block,
    values: Mapping[Slot, Tensor],
    counterpart: Counterpart = own_operation,
) -> Iterator[tuple[Step, list[Tensor]]]:
    """Run a block on one batch, and yield each step with its outputs.

    A tensor is freed after its last reader.

    Args:
        block: `Block`.
        values: Mapping from `Slot` to tensor. The inputs of the block.
        counterpart: `Counterpart`. Defaults to the steps' own operations.
    """
    unread = Counter(slot for step in block.steps for slot in set(step.inputs))
    known = dict(values)
    for step in block.steps:
        outputs = step.execute(known, counterpart(step))
        known.update(zip(step.outputs, outputs, strict=True))
        yield step, outputs
        for slot in set(step.inputs):
            unread[slot] -= 1
        for slot in (*step.inputs, *step.outputs):
            if not unread[slot]:
                known.pop(slot, None)


def run_block(
    block: Block, values: Mapping[Slot, Tensor], counterpart: Counterpart = own_operation
) -> list[Tensor]:
    """Return the outputs of a block for one batch. The arguments are those of `executed_steps`."""
    results = {slot: values[slot] for slot in block.outputs if slot in values}
    for step, outputs in executed_steps(block, values, counterpart):
        for slot, tensor in zip(step.outputs, outputs, strict=True):
            if slot in block.outputs:
                results[slot] = tensor
    return [results[slot] for slot in block.outputs]


def _rows(batch: Tensor, positions: np.ndarray) -> np.ndarray:
    """Return some samples of a batch as an array."""
    return ops.convert_to_numpy(ops.take(batch, ops.convert_to_tensor(positions), axis=0))
