"""`model.predict` for any number of samples, also where devices divide the batches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import replicas
from keras_prelu.backend.variables import values_kept_through_errors
from keras_prelu.data.arrays import keras_arrays

__all__ = ["predict"]

_BATCH_SIZE = 32


def predict(model: keras.Model, inputs: Any, batch_size: int | None = None) -> Any:
    """Return what `model.predict` returns.

    Keras refuses batches that `keras.distribution` can't divide among its devices. The last samples
    are repeated to fill the last batch, and left out of the result.

    Args:
        model: Keras model.
        inputs: Array, or structure of arrays, as the model takes it.
        batch_size: Int. As of `model.predict`. Defaults to None: about 32, or the model's own.
    """
    parts = replicas()
    if parts == 1:
        with values_kept_through_errors(model):
            return model.predict(keras_arrays(inputs), batch_size=batch_size, verbose=0)
    count = len(keras.tree.flatten(inputs)[0])
    rows = np.minimum(np.arange(-(-count // parts) * parts), count - 1)
    filled = keras.tree.map_structure(lambda array: np.asarray(array[rows]), inputs)
    size = -(-(batch_size or _BATCH_SIZE) // parts) * parts
    with values_kept_through_errors(model):
        outputs = model.predict(keras_arrays(filled), batch_size=size, verbose=0)
    return keras.tree.map_structure(lambda array: array[:count], outputs)
