"""Measuring what happens inside a model while it runs, compiled as its predictions are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import hosts, tensorflow_replicas
from keras_prelu.data.samples import batches
from keras_prelu.utils.quiet import errors_alone

__all__ = ["Look", "Probe", "Seen"]

Tensor = Any
Look = Callable[[list[Tensor]], Sequence[tuple[str, Sequence[Tensor]]]]
"""Runs a model on a batch, and gives back what it measured, in `keras.ops`: names, and numbers as
tensors."""
Seen = dict[str, list[np.ndarray]]
"""What was measured on one batch, by name."""


class Probe:
    """Measures something on batches of samples, compiled once.

    Args:
        model: What is measured. It has a graph. Its weights may change meanwhile.
        look: Measures one batch. It names the same things on each.
    """

    def __init__(self, model: keras.Model, look: Look) -> None:
        self._batch = model.inputs[0].shape[0]
        # Where TensorFlow gives each device a part of a batch, and JAX each host, the parts'
        # measurements would not be put together. And one host, which may measure alone, would wait
        # for the others where it makes the variables that compiling needs.
        divided = tensorflow_replicas() > 1 or hosts() > 1
        self._measure = _step_by_step(look) if divided else _compiled(model, look)

    def on(self, inputs: Sequence[Any], batch_size: int) -> Iterator[tuple[int, Seen]]:
        """Measure each batch.

        Args:
            inputs: An array for each of the model's inputs.
            batch_size: Samples at once, where the model doesn't say.

        Yields:
            The number of samples in a batch, and what was measured.
        """
        for batch in batches(inputs, self._batch or batch_size):
            seen = self._measure(batch)
            yield (
                len(batch[0]),
                {
                    name: [np.asarray(keras.ops.convert_to_numpy(value)) for value in values]
                    for name, values in seen
                },
            )


def _step_by_step(
    look: Look,
) -> Callable[[list[np.ndarray]], Sequence[tuple[str, Sequence[Tensor]]]]:
    return lambda batch: look([keras.ops.convert_to_tensor(array) for array in batch])


def _compiled(
    model: keras.Model, look: Look
) -> Callable[[list[np.ndarray]], Sequence[tuple[str, Sequence[Tensor]]]]:
    network = _Network(model, look)
    # As predictions are compiled by default, but for XLA on TensorFlow and `torch.compile`, which
    # take longer than they save.
    network.compile(jit_compile=keras.backend.backend() == "jax")

    def measure(batch: list[np.ndarray]) -> Sequence[tuple[str, Sequence[Tensor]]]:
        with errors_alone(
            "tensorflow"
        ):  # which counts how often functions are compiled, those of different models together
            found = network.predict_on_batch(batch if len(batch) > 1 else batch[0])
        return list(zip(network.names, found, strict=True))

    return measure


class _Network(keras.Model):
    """A model that puts out measurements of another one."""

    def __init__(self, model: keras.Model, look: Look) -> None:
        super().__init__(name="probe")
        self.inner = model
        self.names: list[str] = []
        self._look = look

    def call(self, inputs: Any) -> list[list[Tensor]]:
        seen = self._look(list(inputs) if isinstance(inputs, (list, tuple)) else [inputs])
        self.names = [name for name, _ in seen]  # known once it is compiled
        return [list(values) for _, values in seen]
