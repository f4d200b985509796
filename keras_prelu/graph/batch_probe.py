"""Measurements inside a model while it runs, compiled in the same way as its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import tensorflow_replicas
from keras_prelu.backend.hosts import hosts
from keras_prelu.data.samples import batches
from keras_prelu.errors import DataError
from keras_prelu.typing import Tensor
from keras_prelu.utils.quiet import errors_alone

__all__ = ["BatchProbe", "MeasuredBatch"]

Measure = Callable[[list[Tensor]], Mapping[str, Sequence[Tensor]]]
"""Runs a model on the tensors of one batch, and returns for some names what it measured."""


@dataclass(frozen=True)
class MeasuredBatch:
    """The measurements of one batch.

    Attributes:
        samples: Integer. Number of samples in the batch.
        values: Dict from names of measurements to lists of arrays.
    """

    samples: int
    values: dict[str, list[np.ndarray]]


class BatchProbe:
    """Measures quantities on batches of samples with a function that is compiled once.

    Args:
        model: `keras.Model`. The model that is measured. It has a graph. Its weights may change
            between batches.
        measure: Callable. Takes a list of tensors, one for each input of the model, runs the model
            on them in `keras.ops`, and returns a mapping from names to sequences of tensors. The
            names are the same on each batch.
    """

    def __init__(self, model: keras.Model, measure: Measure) -> None:
        self._batch_size = model.inputs[0].shape[0]
        # TensorFlow gives each device, and JAX each host, a part of a batch, and the measurements
        # of the parts would not be combined. Moreover, a single host that measures would wait for
        # the other hosts when it creates the variables that compilation needs.
        is_divided = tensorflow_replicas() > 1 or hosts() > 1
        self._measure = _eager(measure) if is_divided else _compiled(model, measure)

    def batches(self, inputs: Sequence[Any], batch_size: int) -> Iterator[MeasuredBatch]:
        """Measure samples batch by batch.

        Args:
            inputs: Sequence of arrays, one for each of the model's inputs.
            batch_size: Integer. Samples per batch, unless the model has a fixed batch size.

        Yields:
            A `MeasuredBatch` for each batch.

        Raises:
            DataError: The last batch is too short for the model.
        """
        for batch in batches(inputs, self._batch_size or batch_size):
            values = {
                name: [np.asarray(keras.ops.convert_to_numpy(tensor)) for tensor in tensors]
                for name, tensors in self._measured(batch).items()
            }
            yield MeasuredBatch(samples=len(batch[0]), values=values)

    def _measured(self, batch: list[np.ndarray]) -> Mapping[str, Sequence[Tensor]]:
        try:
            return self._measure(batch)
        except Exception as error:
            if self._batch_size in (None, len(batch[0])):
                raise
            raise DataError(
                f"The model takes {self._batch_size} samples at once, and fails for the last"
                f" {len(batch[0])}. Give it a multiple of {self._batch_size} samples"
            ) from error


def _eager(measure: Measure) -> Callable[[list[np.ndarray]], Mapping[str, Sequence[Tensor]]]:
    return lambda batch: measure([keras.ops.convert_to_tensor(array) for array in batch])


def _compiled(
    model: keras.Model, measure: Measure
) -> Callable[[list[np.ndarray]], Mapping[str, Sequence[Tensor]]]:
    measuring_model = _MeasuringModel(model, measure)
    # Compiled as predictions are by default, but without XLA on TensorFlow and `torch.compile`,
    # which take longer than they save.
    measuring_model.compile(jit_compile=keras.backend.backend() == "jax")

    def measure_batch(batch: list[np.ndarray]) -> Mapping[str, Sequence[Tensor]]:
        # TensorFlow counts how often functions are compiled, adds up the counts of different
        # models, and warns.
        with errors_alone("tensorflow"):
            values = measuring_model.predict_on_batch(batch if len(batch) > 1 else batch[0])
        return dict(zip(measuring_model.names, values, strict=True))

    return measure_batch


class _MeasuringModel(keras.Model):
    """A model whose outputs are measurements of another model."""

    def __init__(self, model: keras.Model, measure: Measure) -> None:
        super().__init__(name="probe")
        self.inner = model  # As a sublayer: its variables are this model's, and may change.
        self.names: list[str] = []
        self._measure = measure

    def call(self, inputs: Any) -> list[list[Tensor]]:
        values = self._measure(list(inputs) if isinstance(inputs, (list, tuple)) else [inputs])
        self.names = list(values)  # Known once the model is compiled.
        return [list(tensors) for tensors in values.values()]
