"""Weights and tensors as NumPy arrays for arithmetic in double precision."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

__all__ = ["to_float64"]


def to_float64(tensor: Any) -> np.ndarray:
    """Return a tensor or variable as a float64 array."""
    if keras.backend.standardize_dtype(tensor.dtype) == "float64":
        return np.asarray(keras.ops.convert_to_numpy(tensor))
    # NumPy has no bfloat16, so the backend casts to float32 first.
    return np.asarray(
        keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), dtype=np.float64
    )
