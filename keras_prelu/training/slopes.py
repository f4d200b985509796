"""How slopes are optimized: their own learning rate, and no weight decay."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import is_slope
from keras_prelu.registration import serializable

__all__ = ["ScaledSchedule", "SlopeOptimizer"]

Tensor = Any


@serializable()
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule times a constant.

    Args:
        schedule: The schedule.
        factor: The constant.
    """

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule = schedule
        self.factor = float(factor)

    def __call__(self, step: Tensor) -> Tensor:
        return self.factor * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ScaledSchedule:
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])


@serializable()
class SlopeOptimizer(keras.optimizers.Optimizer):
    """An optimizer that trains the slopes of PReLU layers with a learning rate of their own and without weight decay.

    It holds two copies of the given optimizer: one for all other variables, as it is, and one for slopes, with its learning rate
    multiplied and its weight decay off (He et al. 2015 use none on slopes, since it pulls them to ReLU). Under the exp map a slope's
    step is α times β's, so small slopes move little: a multiplier makes up for it.

    Args:
        optimizer: Any Keras optimizer, not built yet.
        multiplier: The slopes' learning rate over that of the other variables. Defaults to 1.

    Raises:
        InvalidArgumentError: A ValueError; the multiplier is not positive.

    Example:

    >>> model.compile(keras_prelu.training.slopes.SlopeOptimizer(keras.optimizers.AdamW(1e-3), multiplier=4.0), loss="mse")
    """

    def __init__(self, optimizer: Any, multiplier: float = 1.0, name: str = "slope_optimizer", **kwargs: Any) -> None:
        optimizer = keras.optimizers.get(optimizer)
        if isinstance(multiplier, bool) or not isinstance(multiplier, (int, float)) or not multiplier > 0:
            raise InvalidArgumentError(f"`multiplier` must be a positive number. Received: multiplier={multiplier!r}")
        super().__init__(learning_rate=0.0, name=name, **kwargs)
        self.multiplier = float(multiplier)
        self.weight_optimizer = optimizer
        self.slope_optimizer = type(optimizer).from_config(_slope_config(optimizer.get_config(), self.multiplier))

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        weights, slopes = [v for v in variables if not is_slope(v)], [v for v in variables if is_slope(v)]
        self.weight_optimizer.build(weights)
        self.slope_optimizer.build(slopes)

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, *self.weight_optimizer.variables, *self.slope_optimizer.variables]

    def apply(self, grads: list[Tensor], trainable_variables: list[Any] | None = None) -> None:
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        trainable_variables = list(trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        pairs = list(zip(grads, trainable_variables, strict=True))
        for optimizer, belongs in ((self.weight_optimizer, lambda v: not is_slope(v)), (self.slope_optimizer, is_slope)):
            chosen = [(gradient, variable) for gradient, variable in pairs if belongs(variable)]
            if chosen:
                optimizer.apply([gradient for gradient, _ in chosen], [variable for _, variable in chosen])
        self._iterations.assign_add(1)

    @property
    def learning_rate(self) -> Any:
        """The learning rate of the other variables; setting it sets that of the slopes too, multiplied."""
        return self.weight_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.weight_optimizer.learning_rate = value
        self.slope_optimizer.learning_rate = _scaled(value, self.multiplier)

    def scale_loss(self, loss: Tensor) -> Tensor:
        return self.weight_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        self.weight_optimizer.finalize_variable_values([v for v in var_list if not is_slope(v)])
        self.slope_optimizer.finalize_variable_values([v for v in var_list if is_slope(v)])

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.weight_optimizer),
            "multiplier": self.multiplier,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> SlopeOptimizer:
        config = dict(config)
        optimizer = keras.saving.deserialize_keras_object(config.pop("optimizer"), custom_objects=custom_objects)
        return cls(optimizer, **config)


def _slope_config(config: dict[str, Any], multiplier: float) -> dict[str, Any]:
    config = dict(config)
    if isinstance(config["learning_rate"], dict):
        config["learning_rate"] = keras.saving.deserialize_keras_object(config["learning_rate"])
    config["learning_rate"] = _scaled(config["learning_rate"], multiplier)
    if config.get("weight_decay"):
        config["weight_decay"] = 0.0
    config["name"] = f"{config.get('name', 'optimizer')}_slopes"
    return config


def _scaled(learning_rate: Any, multiplier: float) -> Any:
    if isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return ScaledSchedule(learning_rate, multiplier)
    if callable(learning_rate):
        return lambda *args: multiplier * learning_rate(*args)
    return float(learning_rate) * multiplier
