"""What a BatchNormalization layer computes at inference: an affine map of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.layer_kinds import built_input_shape

__all__ = ["channel_axis", "inference_factor", "normalizes_last_axis"]


def channel_axis(layer: Any) -> int | None:
    """Return the axis that a BatchNormalization normalizes, counted from 0.

    Returns None if the rank of its input is not known.
    """
    shape = built_input_shape(layer)
    return layer.axis % len(shape) if shape else None


def normalizes_last_axis(layer: Any) -> bool:
    """Return whether a BatchNormalization normalizes the last axis."""
    return layer.axis == -1 or layer.axis == len(built_input_shape(layer) or ()) - 1


def inference_factor(layer: Any) -> np.ndarray:
    """Return the factor γ/√(σ² + ε) of each channel of a BatchNormalization at inference.

    σ² is the moving variance.
    """
    factor = 1.0 / np.sqrt(to_float64(layer.moving_variance) + layer.epsilon)
    return factor * to_float64(layer.gamma) if layer.scale else factor
