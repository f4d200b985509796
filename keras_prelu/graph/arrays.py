"""Weights and tensors as NumPy arrays for arithmetic in double precision."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

__all__ = ["to_float64"]

_OF_NUMPY = ("float32", "float64")


def to_float64(tensor: Any) -> np.ndarray:
    """Return a tensor or variable as a new float64 array."""
    if keras.backend.standardize_dtype(tensor.dtype) not in _OF_NUMPY:
        # NumPy has no bfloat16, so the backend casts to float32 first.
        tensor = keras.ops.cast(tensor, "float32")
    return np.array(keras.ops.convert_to_numpy(tensor), dtype=np.float64)
