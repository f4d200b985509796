"""What a BatchNormalization layer does at inference: an affine map of each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.layer_kinds import built_input_shape

__all__ = ["channel_axis", "inference_factor", "normalizes_last_axis"]


def channel_axis(layer: Any) -> int | None:
    """Return the axis that a BatchNormalization normalizes, counted from 0, or None if the rank of
    its input is not known."""
    shape = built_input_shape(layer)
    return layer.axis % len(shape) if shape else None


def normalizes_last_axis(layer: Any) -> bool:
    """Return whether a BatchNormalization normalizes the last axis."""
    return layer.axis == -1 or layer.axis == len(built_input_shape(layer) or ()) - 1


def inference_factor(layer: Any) -> np.ndarray:
    """Return γ/√(σ² + ε), with the moving variance σ²: what a BatchNormalization multiplies each
    channel by at inference."""
    factor = 1.0 / np.sqrt(to_float64(layer.moving_variance) + layer.epsilon)
    return factor * to_float64(layer.gamma) if layer.scale else factor
