"""An optimizer that gives slopes their own learning rate and no weight decay."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import (
    built_for,
    moving_averages,
    steps_counter,
    treat_apart,
)
from keras_prelu.conversion.optimizer_copies import resolved_optimizer
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import is_slope
from keras_prelu.registration import serializable
from keras_prelu.training.slope_multipliers import EQUAL, multiplier_of_variables
from keras_prelu.training.slope_schedule import SlopeSchedule
from keras_prelu.typing import Tensor

__all__ = ["AUTO", "SlopeOptimizer"]

AUTO = "auto"


@serializable()
class SlopeOptimizer(keras.optimizers.Optimizer):
    """An optimizer that gives the slopes of PReLU layers their own learning rate.

    It lets the given optimizer update all variables, and changes two things in it: slopes get no
    weight decay, and their learning rate is a multiple of that of the other variables. He et al.
    2015 use no weight decay on slopes, since it pulls them to ReLU. Everything else is what the
    given optimizer does by itself: clipping by the global norm counts all gradients, and moving
    averages, accumulated gradients and exclusions from weight decay are kept. The slopes' learning
    rate follows that of the other variables at every step, whether a schedule or a callback sets
    it.

    With `multiplier="auto"` free slopes (`parameterization="identity"`, as `convert(model)` makes
    them) learn ten times as fast as the weights under Adam, AdamW, Adamax and Nadam, three times
    as fast if the network has a normalization, a tenth as fast under SGD, and as fast as the
    weights under other optimizers and other maps. So a converted network that goes on learning on
    new data gains under Adam, and is not harmed under SGD. An optimizer sees variables, not layers:
    a normalization is recognized by the names of its scale and offset, and one whose variables are
    all frozen is not. Give a number then, such as 3.

    While slopes are frozen their learning rate is 0, but the optimizer's moments still accumulate
    their gradients, so the first step afterwards is of ordinary size. With Adam, if the moments
    started from zero after n steps, that step would be 0.1/(1 − 0.9ⁿ) over √(0.001/(1 − 0.999ⁿ))
    of its ordinary size: half after twenty steps, three times after thousands.

    Args:
        optimizer: Keras optimizer or its name, not built yet. The instance itself is used. Put a
            `LossScaleOptimizer` around the `SlopeOptimizer`, not inside.
        multiplier: Float or "auto". Ratio of the slopes' learning rate to that of the other
            variables. Defaults to "auto", see above.
        frozen_steps: Int. Steps at the start in which slopes keep their values. Defaults to 0.
        warmup_steps: Int. Steps after the frozen ones in which the slopes' learning rate rises
            linearly to its full value. Defaults to 0.
        clipnorm: Float. Largest Euclidean norm of the gradient of each layer's slopes; a larger
            gradient is scaled down, in place of the optimizer's own clipping. Defaults to None:
            only the optimizer's own clipping applies.

    Raises:
        InvalidArgumentError: A ValueError; the multiplier or `clipnorm` is not positive, a number
            of steps is negative, or the optimizer can't be given slopes of another learning rate.

    Example:

    >>> converted = keras_prelu.convert(model)
    >>> converted.compile(keras_prelu.SlopeOptimizer(keras.optimizers.Adam(1e-3)), model.loss)
    >>> converted.fit(x_train, y_train)

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852; docs/explanation/results.md.
    """

    def __init__(
        self,
        optimizer: Any,
        multiplier: float | str = AUTO,
        *,
        frozen_steps: int = 0,
        warmup_steps: int = 0,
        clipnorm: float | None = None,
        name: str = "slope_optimizer",
        **kwargs: Any,
    ) -> None:
        optimizer = resolved_optimizer(optimizer)
        if multiplier != AUTO:
            _check("multiplier", multiplier, or_auto=True)
        schedule = SlopeSchedule(frozen_steps=frozen_steps, warmup_steps=warmup_steps)
        if clipnorm is not None:
            _check("clipnorm", clipnorm)
        _check_optimizer(optimizer, frozen_steps)
        super().__init__(learning_rate=0.0, name=name, **kwargs)
        self.multiplier = multiplier if isinstance(multiplier, str) else float(multiplier)
        self.schedule, self.slope_clipnorm = schedule, clipnorm
        # `SwapEMAWeights` looks for moving averages in an attribute of this name.
        self.inner_optimizer = optimizer

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.inner_optimizer.build(variables)
        self._ratio = (
            multiplier_of_variables(variables, self.inner_optimizer)
            if isinstance(self.multiplier, str)
            else self.multiplier
        )
        adjusts_rate = self._ratio != EQUAL or not self.schedule.is_constant
        # A MultiOptimizer knows all of its optimizers only after it is built.
        for optimizer in getattr(self.inner_optimizer, "optimizers", [self.inner_optimizer]):
            treat_apart(
                optimizer,
                is_slope,
                rate=self._slope_rate if adjusts_rate else None,
                clip=None if self.slope_clipnorm is None else self._clipped,
            )

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, *self.inner_optimizer.variables]

    def apply(self, grads: list[Tensor], trainable_variables: list[Any] | None = None) -> None:
        if trainable_variables is None:
            trainable_variables = built_for(self)
        trainable_variables = list(trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        self.inner_optimizer.apply(grads, trainable_variables)
        steps_counter(self).assign_add(1)

    @property
    def frozen_steps(self) -> int:
        """Steps at the start in which slopes keep their values."""
        return self.schedule.frozen_steps

    @property
    def warmup_steps(self) -> int:
        """Steps after the frozen ones in which the slopes' learning rate rises."""
        return self.schedule.warmup_steps

    def _slope_rate(self, learning_rate: Any) -> Tensor:
        """Return the slopes' learning rate at the next step, given that of the other variables."""
        rate = self._ratio * learning_rate
        if self.schedule.is_constant:
            return rate
        return rate * self.schedule.share(steps_counter(self))

    def _clipped(self, gradient: Tensor) -> Tensor:
        norm = keras.ops.sqrt(keras.ops.sum(keras.ops.square(gradient)))
        return gradient * (self.slope_clipnorm / keras.ops.maximum(norm, self.slope_clipnorm))

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """Learning rate of the other variables, which that of the slopes follows."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def loss_scale_factor(self) -> Any:
        """Factor of the loss, which a `LossScaleOptimizer` around this optimizer takes away."""
        inner = vars(self).get("inner_optimizer")
        return None if inner is None else inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: Any) -> None:
        inner = vars(self).get("inner_optimizer")
        if inner is not None:  # Not while the constructor of Keras runs.
            inner.loss_scale_factor = value

    # `SwapEMAWeights` reads the next two if a LossScaleOptimizer is around this optimizer.

    @property
    def optimizers(self) -> list[Any]:
        """Optimizers of a `MultiOptimizer`; no other has this attribute."""
        optimizers: list[Any] = self.inner_optimizer.optimizers
        return optimizers

    @property
    def _model_variables_moving_average(self) -> list[Any]:
        return moving_averages(self.inner_optimizer)

    def scale_loss(self, loss: Tensor) -> Tensor:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
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


def _check(argument: str, value: Any, *, or_auto: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        allowed = f"a positive number or {AUTO!r}" if or_auto else "a positive number"
        raise InvalidArgumentError(
            f"`{argument}` must be {allowed}. Received: {argument}={value!r}"
        )


def _check_optimizer(optimizer: Any, frozen_steps: int) -> None:
    if isinstance(optimizer, (SlopeOptimizer, keras.optimizers.LossScaleOptimizer)):
        raise InvalidArgumentError(
            "A SlopeOptimizer takes the optimizer that updates the variables. Give it the"
            f" `inner_optimizer`. Received: optimizer of type {type(optimizer).__name__}"
        )
    if frozen_steps and isinstance(optimizer, keras.optimizers.Ftrl):
        raise InvalidArgumentError(
            "Ftrl divides by its learning rate, which is 0 while slopes are frozen. Leave slopes"
            f" unfrozen, or use another optimizer. Received: frozen_steps={frozen_steps}"
        )
