"""The schedule of the slopes' learning rate beside that of the weights: frozen, rising, full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.typing import Tensor

__all__ = ["SlopeSchedule"]


@dataclass(frozen=True)
class SlopeSchedule:
    """The share of their full learning rate that slopes have at each step.

    Attributes:
        frozen_steps: Int. Steps at the start in which slopes keep their values.
        warmup_steps: Int. Steps after these in which the share rises linearly to 1.

    Raises:
        InvalidArgumentError: A ValueError; a number of steps is negative or no integer.
    """

    frozen_steps: int
    warmup_steps: int

    def __post_init__(self) -> None:
        for argument, steps in vars(self).items():
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise InvalidArgumentError(
                    f"`{argument}` must be a number of steps, 0 or more. Received:"
                    f" {argument}={steps!r}"
                )

    @property
    def is_constant(self) -> bool:
        """Whether the share is 1 from the first step on."""
        return not self.frozen_steps and not self.warmup_steps

    def share(self, step: Any) -> Tensor:
        """Return the share at a step, counted from 0."""
        risen = keras.ops.cast(step, "float32") - self.frozen_steps + 1.0
        return keras.ops.clip(risen / (self.warmup_steps + 1.0), 0.0, 1.0)
