"""An optimizer that gives slopes their own learning rate and no weight decay."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import built_for, steps_counter
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import is_slope
from keras_prelu.registration import serializable
from keras_prelu.typing import Tensor

__all__ = ["SlopeOptimizer"]


@serializable()
class SlopeOptimizer(keras.optimizers.Optimizer):
    """An optimizer that gives the slopes of PReLU layers their own learning rate.

    It holds two copies of the given optimizer: one for slopes, with its weight decay off, and one
    for all other variables, unchanged. He et al. 2015 use no weight decay on slopes, since it pulls
    them to ReLU. The slopes' learning rate follows that of the other variables at every step,
    whether a schedule or a callback sets it. Under the exp map a slope's step is α times β's, so
    small slopes move little; the multiplier compensates for this.

    While slopes are frozen their learning rate is 0, but the optimizer's moments still accumulate
    their gradients, so the first step afterwards is of ordinary size. With Adam, if the moments
    started from zero after n steps, that step would be 0.1/(1 − 0.9ⁿ) over √(0.001/(1 − 0.999ⁿ))
    of its ordinary size: half after twenty steps, three times after thousands.

    Args:
        optimizer: Keras optimizer or its name, not built yet.
        multiplier: Float. Ratio of the slopes' learning rate to that of the other variables.
            Defaults to 1.
        frozen_steps: Int. Steps at the start in which slopes keep their values. Defaults to 0.
        warmup_steps: Int. Steps after the frozen ones in which the slopes' learning rate rises
            linearly to its full value. Defaults to 0.
        clipnorm: Float. Largest Euclidean norm of the gradient of each layer's slopes; a larger
            gradient is scaled down. Defaults to None: only the optimizer's own clipping applies.

    Raises:
        InvalidArgumentError: A ValueError; the multiplier or `clipnorm` is not positive, or a
            number of steps is negative.

    Example:

    >>> from keras_prelu.training.slope_optimizer import SlopeOptimizer
    >>> model.compile(SlopeOptimizer(keras.optimizers.AdamW(1e-3), multiplier=4.0), loss="mse")

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852.
    """

    def __init__(
        self,
        optimizer: Any,
        multiplier: float = 1.0,
        *,
        frozen_steps: int = 0,
        warmup_steps: int = 0,
        clipnorm: float | None = None,
        name: str = "slope_optimizer",
        **kwargs: Any,
    ) -> None:
        optimizer = keras.optimizers.get(optimizer)
        _check("multiplier", multiplier)
        for argument, steps in (("frozen_steps", frozen_steps), ("warmup_steps", warmup_steps)):
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
                raise InvalidArgumentError(
                    f"`{argument}` must be a number of steps, 0 or more. Received:"
                    f" {argument}={steps!r}"
                )
        if clipnorm is not None:
            _check("clipnorm", clipnorm)
        super().__init__(learning_rate=0.0, name=name, **kwargs)
        self.multiplier = float(multiplier)
        self.frozen_steps, self.warmup_steps, self.slope_clipnorm = (
            frozen_steps,
            warmup_steps,
            clipnorm,
        )
        self.weight_optimizer = optimizer
        self.slope_optimizer = type(optimizer).from_config(
            _slope_config(optimizer.get_config(), clipnorm)
        )

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        weights, slopes = (
            [v for v in variables if not is_slope(v)],
            [v for v in variables if is_slope(v)],
        )
        self.weight_optimizer.build(weights)
        self.slope_optimizer.build(slopes)

    @property
    def variables(self) -> list[Any]:
        return [
            *super().variables,
            *self.weight_optimizer.variables,
            *self.slope_optimizer.variables,
        ]

    def apply(self, grads: list[Tensor], trainable_variables: list[Any] | None = None) -> None:
        if trainable_variables is None:
            trainable_variables = built_for(self)
        trainable_variables = list(trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        pairs = list(zip(grads, trainable_variables, strict=True))
        self.slope_optimizer.learning_rate = self._slope_rate()
        for optimizer, slopes in ((self.weight_optimizer, False), (self.slope_optimizer, True)):
            chosen = [
                (gradient, variable) for gradient, variable in pairs if is_slope(variable) == slopes
            ]
            if chosen:
                optimizer.apply(
                    [gradient for gradient, _ in chosen], [variable for _, variable in chosen]
                )
            else:
                # A learning rate schedule must advance even if only slopes are trained.
                steps_counter(optimizer).assign_add(1)
        steps_counter(self).assign_add(1)

    def _slope_rate(self) -> Tensor:
        """Return the slopes' learning rate at the next step."""
        rate = self.multiplier * self.weight_optimizer.learning_rate
        if not self.frozen_steps and not self.warmup_steps:
            return rate
        step = keras.ops.cast(steps_counter(self), "float32")
        share = (step - self.frozen_steps + 1.0) / (self.warmup_steps + 1.0)
        return rate * keras.ops.clip(share, 0.0, 1.0)

    @property
    def learning_rate(self) -> Any:
        """Learning rate of the other variables, which that of the slopes follows."""
        return self.weight_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.weight_optimizer.learning_rate = value

    def scale_loss(self, loss: Tensor) -> Tensor:
        return self.weight_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        self.weight_optimizer.finalize_variable_values([v for v in var_list if not is_slope(v)])
        self.slope_optimizer.finalize_variable_values([v for v in var_list if is_slope(v)])

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.weight_optimizer),
            "multiplier": self.multiplier,
            "frozen_steps": self.frozen_steps,
            "warmup_steps": self.warmup_steps,
            "clipnorm": self.slope_clipnorm,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SlopeOptimizer:
        config = dict(config)
        optimizer = keras.saving.deserialize_keras_object(
            config.pop("optimizer"), custom_objects=custom_objects
        )
        return cls(optimizer, **config)


def _check(argument: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InvalidArgumentError(
            f"`{argument}` must be a positive number. Received: {argument}={value!r}"
        )


def _slope_config(config: dict[str, Any], clipnorm: float | None) -> dict[str, Any]:
    """Return the configuration of the slopes' optimizer, whose learning rate each step sets."""
    config = {**config, "learning_rate": 0.0, "name": f"{config.get('name', 'optimizer')}_slopes"}
    if config.get("weight_decay"):
        config["weight_decay"] = 0.0
    if clipnorm is not None:
        config.update(clipnorm=float(clipnorm), clipvalue=None, global_clipnorm=None)
    return config
