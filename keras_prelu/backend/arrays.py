"""Tensors as NumPy arrays."""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.typing import Array, Tensor

__all__ = ["as_array"]


def as_array(tensor: Tensor) -> Array:
    """Return a tensor as an array that is only read, without a copy if the tensor is on the CPU.

    Args:
        tensor: Dense tensor, or array.
    """
    if keras.backend.backend() == "tensorflow":
        return np.asarray(tensor)  # keras.ops.convert_to_numpy copies.
    array: Array = keras.ops.convert_to_numpy(tensor)
    return array
