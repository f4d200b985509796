"""Weights and inputs for networks that were not trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def live_in(model: Any, seed: int = 0) -> Any:
    """Set weights as training leaves them, the same on every backend: biases and statistics that
    are not zeros and ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0.0, 0.3, shape))
        elif len(shape) > 1 and not keras.backend.is_int_dtype(variable.dtype):
            fan_in = max(1, int(np.prod(shape)) // shape[-1])
            variable.assign(rng.normal(0.0, (2.0 / fan_in) ** 0.5, shape))
    return model


def inputs_of(model: Any, count: int, open_size: int = 12, seed: int = 1) -> Any:
    """Return random inputs for a model: normal numbers, or integers from 0 to 9. Open sizes become
    `open_size`."""
    rng = np.random.default_rng(seed)
    symbolic = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def one(tensor: Any) -> np.ndarray:
        shape = (count, *(size or open_size for size in tensor.shape[1:]))
        if keras.backend.is_int_dtype(tensor.dtype):
            return rng.integers(0, 10, shape)
        return rng.normal(size=shape).astype("float32")

    return keras.tree.map_structure(one, symbolic)
