"""Forms of a PReLU with constant slopes: the same function, in the operations that a runtime runs
fastest.

Each form takes what it needs to know of a PReLU and a tensor, and falls back to
`general` where it would compute something else or is no faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.typing import Array, Tensor

__all__ = ["Activation", "Form", "capped_before", "clamped", "general", "largest_of_two"]

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Activation:
    """A PReLU as a constant function.

    Attributes:
        slopes: Array. Slopes of the shape of a sample, with 1 for axes that share them.
        cap: Float > 0 or None. What outputs are cut off at.
    """

    slopes: Array
    cap: float | None

    @property
    def slope(self) -> float | None:
        """The slope that all elements have, or None if they differ."""
        first = self.slopes.flat[0]
        return float(first) if np.all(self.slopes == first) else None

    @property
    def is_increasing(self) -> bool:
        """Whether no slope is negative: a cap then has the same effect before as after.

        Positive inputs pass unchanged, and negative ones stay below the cap.
        """
        return bool(self.slopes.min() >= 0)

    @property
    def is_convex(self) -> bool:
        """Whether all slopes are from 0 to 1: the function is then max(x, a·x)."""
        return bool(self.slopes.min() >= 0 and self.slopes.max() <= 1)


Form = Callable[[Activation, Tensor], Tensor]
"""Function that applies an activation to a tensor."""


def general(activation: Activation, inputs: Tensor) -> Tensor:
    """Apply an activation with any slopes.

    ReLUs, LeakyReLUs and identities are operations of their own. Otherwise it is the formula of
    `keras.layers.PReLU`, by which converters recognize a PReLU. A cap follows.
    """
    if activation.slope == 0:
        return keras.activations.relu(inputs, max_value=activation.cap)
    return _capped(_general_without_cap(activation, inputs), activation.cap)


def capped_before(activation: Activation, inputs: Tensor) -> Tensor:
    """Apply an activation with the cap before it, for TensorFlow Lite.

    There a cap is fused into what precedes it. Its converter would unite the cap with the ReLU of
    the formula, and then no longer recognize the PReLU: a second bound, which all numbers of
    float32 pass, keeps them apart.
    """
    if activation.cap is None or activation.slope == 0 or not activation.is_increasing:
        return general(activation, inputs)
    inputs = _capped(inputs, activation.cap)
    if activation.slope is None:
        inputs = keras.ops.maximum(inputs, keras.ops.cast(_LOWEST, inputs.dtype))
    return _general_without_cap(activation, inputs)


def largest_of_two(activation: Activation, inputs: Tensor) -> Tensor:
    """Apply an activation as max(x, a·x), if all slopes are from 0 to 1 and differ."""
    if activation.slope is not None or not activation.is_convex:
        return general(activation, inputs)
    slopes = keras.ops.cast(activation.slopes, inputs.dtype)
    return _capped(keras.ops.maximum(inputs, slopes * inputs), activation.cap)


def clamped(activation: Activation, inputs: Tensor) -> Tensor:
    """Apply an activation as `largest_of_two` does, with the cap on one slope as a clamp.

    OpenVINO fuses that clamp into what precedes it, and no minimum.
    """
    if activation.cap is None or activation.slope is None or activation.slope <= 0:
        return largest_of_two(activation, inputs)
    outputs = _general_without_cap(activation, inputs)
    return keras.ops.clip(outputs, _LOWEST, activation.cap)


def _general_without_cap(activation: Activation, inputs: Tensor) -> Tensor:
    if activation.slope == 1:
        return inputs
    if activation.slope is not None and activation.slope > 0:
        return keras.ops.leaky_relu(inputs, activation.slope)
    negative = keras.ops.relu(-inputs)
    return keras.ops.relu(inputs) + keras.ops.cast(-activation.slopes, inputs.dtype) * negative


def _capped(inputs: Tensor, cap: float | None) -> Tensor:
    return inputs if cap is None else keras.ops.minimum(inputs, keras.ops.cast(cap, inputs.dtype))
