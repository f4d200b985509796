"""Constraints on negative slopes that are learned directly (`parameterization="identity"`)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.registration import serializable
from keras_prelu.typing import Tensor
from keras_prelu.utils.checks import check_number

__all__ = ["AtLeast", "Between"]


@serializable()
class AtLeast(keras.constraints.Constraint):
    """Constraint that keeps slopes at or above a positive minimum.

    After each training step, smaller slopes are set to the minimum. Pass the constraint to
    `PReLU(parameterization="identity", alpha_constraint=...)`. Since slopes are then certainly
    positive, the backward pass needs only the layer's output and the input is freed, as under
    `"exp"`; with any other constraint the input is kept. `PReLU(parameterization="positive")` is
    short for "identity" under this constraint with its default minimum.

    Args:
        minimum: Float > 0. The smallest slope. Defaults to 0.001.

    Raises:
        InvalidArgumentError: A ValueError; `minimum` is not a positive finite number.

    Example:

    >>> layer = keras_prelu.PReLU(parameterization="identity",
    ...     alpha_constraint=keras_prelu.constraints.AtLeast(0.01))

    References:
        Claim 1; for the backward pass, `keras_prelu.ops.positive_prelu`.
    """

    def __init__(self, minimum: float = 1e-3) -> None:
        check_number("minimum", minimum, above=0.0)
        self.minimum = float(minimum)

    def __call__(self, w: Tensor) -> Tensor:
        w = ops.convert_to_tensor(w)
        return ops.maximum(w, ops.cast(self.minimum, w.dtype))

    def check(self, alpha: Any) -> None:
        """Check that no slope is below the minimum.

        Args:
            alpha: Float or array. Slopes.

        Raises:
            InvalidArgumentError: A ValueError; a slope is below the minimum.
        """
        smallest = float(np.min(alpha))
        if smallest < self.minimum:
            raise InvalidArgumentError(
                f"The slope {smallest:g} is below {self.minimum:g}, the smallest slope that the"
                " constraint of parameterization 'positive' allows. 'identity' can represent it."
            )

    def enforced(self, slopes: Tensor) -> Tensor:
        """Return slopes with the minimum in effect, also for values that were assigned or loaded.

        The gradient passes unchanged.

        Args:
            slopes: Tensor. The slopes.
        """
        return slopes + ops.stop_gradient(self(slopes) - slopes)

    def get_config(self) -> dict[str, Any]:
        return {"minimum": self.minimum}


@serializable()
class Between(AtLeast):
    """Constraint that keeps slopes between a positive minimum and a maximum.

    It is `AtLeast` with an upper bound. With slopes of at most 1 a PReLU is max(x, αx), which many
    runtimes compute faster than other forms.

    Args:
        minimum: Float > 0. The smallest slope. Defaults to 0.001.
        maximum: Float, at least the minimum. The largest slope. Defaults to 1.

    Raises:
        InvalidArgumentError: A ValueError; a bound is not a positive finite number, or the maximum
            is below the minimum.

    Example:

    >>> layer = keras_prelu.PReLU(parameterization="identity",
    ...     alpha_constraint=keras_prelu.constraints.Between(0.01, 1.0))
    """

    def __init__(self, minimum: float = 1e-3, maximum: float = 1.0) -> None:
        super().__init__(minimum)
        check_number("maximum", maximum, minimum=self.minimum)
        self.maximum = float(maximum)

    def __call__(self, w: Tensor) -> Tensor:
        w = super().__call__(w)
        return ops.minimum(w, ops.cast(self.maximum, w.dtype))

    def check(self, alpha: Any) -> None:
        """Check that no slope is out of bounds.

        Args:
            alpha: Float or array. Slopes.

        Raises:
            InvalidArgumentError: A ValueError; a slope is out of bounds.
        """
        smallest, largest = float(np.min(alpha)), float(np.max(alpha))
        if smallest < self.minimum or largest > self.maximum:
            raise InvalidArgumentError(
                f"Slopes from {smallest:g} to {largest:g} are not within {self.minimum:g} and"
                f" {self.maximum:g}, the bounds of their constraint."
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "maximum": self.maximum}
