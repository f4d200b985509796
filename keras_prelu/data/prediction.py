"""`model.predict` for any number of samples, also where devices divide the batches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import replicas
from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.hosts import hosts
from keras_prelu.backend.variables import values_kept_through_errors
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.model_inputs import InputSignature
from keras_prelu.data.signature import input_signature

__all__ = ["predict"]

_BATCH_SIZE = 32


def predict(model: keras.Model, inputs: Any, batch_size: int | None = None) -> Any:
    """Return what `model.predict` returns.

    Keras refuses batches that `keras.distribution` can't divide among its devices. The last samples
    are repeated to fill the last batch, and left out of the result. On several hosts, `predict`
    would return a part of the outputs, and a model with a fixed batch size may take none that can
    be divided: these are called batch by batch instead.

    Args:
        model: Keras model.
        inputs: Array, or structure of arrays, as the model takes it.
        batch_size: Int. As of `model.predict`. Defaults to None: about 32, or the model's own.
    """
    parts = replicas()
    if parts == 1 and hosts() == 1:
        with values_kept_through_errors(model):
            return model.predict(keras_arrays(inputs), batch_size=batch_size, verbose=0)
    signature = input_signature(model, inputs)
    own = signature.batch_size
    size = own or -(-(batch_size or _BATCH_SIZE) // parts) * parts
    if hosts() > 1 or size % parts:
        return _called(model, inputs, signature, size)
    count = len(keras.tree.flatten(inputs)[0])
    filled = _filled(inputs, -(-count // parts) * parts if own is None else -(-count // own) * own)
    with values_kept_through_errors(model):
        outputs = model.predict(keras_arrays(filled), batch_size=size, verbose=0)
    return keras.tree.map_structure(lambda array: array[:count], outputs)


def _called(model: keras.Model, inputs: Any, signature: InputSignature, size: int) -> Any:
    """Return the outputs of a model that is called with batches of one size."""
    count = len(keras.tree.flatten(inputs)[0])
    filled = _filled(inputs, -(-count // size) * size)
    outputs = []
    for start in range(0, count, size):
        rows = slice(start, start + size)
        batch = keras_arrays([array[rows] for array in keras.tree.flatten(filled)])
        with without_gradients():
            output = model(signature.pack(batch), training=False)
        outputs.append(keras.tree.map_structure(keras.ops.convert_to_numpy, output))
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts)[:count], *outputs)


def _filled(inputs: Any, length: int) -> Any:
    """Return the samples, of which the last one is repeated up to a length."""
    rows = np.minimum(np.arange(length), len(keras.tree.flatten(inputs)[0]) - 1)
    return keras.tree.map_structure(lambda array: np.asarray(array[rows]), inputs)
