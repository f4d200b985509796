"""Measuring what a model's steps read and write while it runs, compiled as its predictions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu._backends import tensorflow_replicas
from keras_prelu._hosts import hosts
from keras_prelu.data.samples import batches
from keras_prelu.surgery.program import Program, Step, run

__all__ = ["probe"]

Tensor = Any
Measure = Callable[[Step, list[Tensor], list[Tensor]], Sequence[Tensor]]
"""From a step, what it reads and what it writes: the numbers that are wanted of it, as tensors."""


def probe(
    model: keras.Model, program: Program, inputs: Sequence[Any], steps: Sequence[Step], measure: Measure, batch_size: int
) -> Iterator[tuple[int, list[list[np.ndarray]]]]:
    """Run a model on samples, and measure some of its steps on each batch.

    Args:
        model: One with a graph.
        program: Its program.
        inputs: An array for each of its inputs.
        steps: Steps of the program, in order.
        measure: What is measured on each of them, in `keras.ops`.
        batch_size: Samples at once, where the model doesn't say.

    Yields:
        The number of samples in a batch, and for each step what was measured.
    """
    if not steps:
        return
    wanted = {id(step) for step in steps}
    network = _Probe(model, program, wanted, measure)
    # As predictions are compiled by default, but for XLA on TensorFlow and `torch.compile`, which take longer than they save.
    network.compile(jit_compile=keras.backend.backend() == "jax")
    # Where TensorFlow gives each device a part of a batch, and JAX each host, what the parts are measured to be would not be put together.
    divided = tensorflow_replicas() > 1 or hosts() > 1
    for batch in batches(inputs, model.inputs[0].shape[0] or batch_size):
        if divided:
            found = _measured(program, [keras.ops.convert_to_tensor(array) for array in batch], wanted, measure)
        else:
            found = network.predict_on_batch(batch if len(batch) > 1 else batch[0])
        yield len(batch[0]), [[np.asarray(keras.ops.convert_to_numpy(value)) for value in values] for values in found]


def _measured(program: Program, tensors: list[Tensor], wanted: set[int], measure: Measure) -> list[list[Tensor]]:
    return [list(measure(step, read, written)) for step, read, written in run(program, tensors) if id(step) in wanted]


class _Probe(keras.Model):
    """A model that puts out measurements of another one's steps."""

    def __init__(self, model: keras.Model, program: Program, wanted: set[int], measure: Measure) -> None:
        super().__init__(name="probe")
        self.inner = model
        self._program, self._wanted, self._measure = program, wanted, measure

    def call(self, inputs: Any) -> list[list[Tensor]]:
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        return _measured(self._program, tensors, self._wanted, self._measure)
