"""The optimizer of each model of a fine-tuning: the user's, or the default one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import has_settable_rate
from keras_prelu.conversion.optimizer_copies import (
    copy_optimizer,
    resolved_optimizer,
    unknown_exclusions,
)
from keras_prelu.conversion.variable_matching import match_variables
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.training.config import DEFAULT_LEARNING_RATE, FitConfig, SlopeConfig
from keras_prelu.training.learning_rate_schedules import set_schedule
from keras_prelu.training.slope_optimizer import SlopeOptimizer

_SET_THE_RATE = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)

__all__ = [
    "check_callbacks",
    "check_optimizer",
    "default_optimizer",
    "optimizer_for",
    "with_slope_settings",
]


def check_optimizer(optimizer: Any, models: Sequence[keras.Model]) -> None:
    """Check that an optimizer can train clones of models.

    Args:
        optimizer: Keras optimizer or its name.
        models: Sequence of Keras models. The models that the user trains.

    Raises:
        InvalidArgumentError: A ValueError; the optimizer can't be copied, is a `SlopeOptimizer`, or
            excludes variables from weight decay that are of none of the models.
    """
    optimizer = resolved_optimizer(optimizer)
    if isinstance(optimizer, SlopeOptimizer) or isinstance(
        getattr(optimizer, "inner_optimizer", None), SlopeOptimizer
    ):
        raise InvalidArgumentError(
            "`optimizer` is a SlopeOptimizer, which fine-tuning makes itself. Give the optimizer"
            " inside, its `inner_optimizer`, and `slope_multiplier`."
        )
    pairs = [pair for model in models for pair in match_variables(model, models[0])]
    copy_optimizer(optimizer, pairs)
    unknown = unknown_exclusions(optimizer, pairs)
    if unknown:
        raise InvalidArgumentError(
            f"The optimizer '{optimizer.name}' excludes {unknown} variable(s) from weight decay"
            f" that are not of {' or '.join(repr(model.name) for model in models)}. Exclude"
            " variables of the model that is given, or exclude by name (var_names)."
        )


def check_callbacks(callbacks: Any, fit: FitConfig) -> None:
    """Check that no callback sets a learning rate that follows a schedule.

    Keras finds out when the callback does so for the first time, which may be hours later.

    Args:
        callbacks: Sequence of Keras callbacks; None, or a function that makes them, is not checked.
        fit: `FitConfig`, with the optimizer and the schedule.

    Raises:
        InvalidArgumentError: A ValueError; a callback sets the rate of a schedule.
    """
    if callbacks is None or callable(callbacks):
        return
    setting = [callback for callback in callbacks if isinstance(callback, _SET_THE_RATE)]
    is_own = fit.optimizer is not None and not has_settable_rate(resolved_optimizer(fit.optimizer))
    default = "cosine" if fit.optimizer is None else "constant"
    is_scheduled = (default if fit.schedule is None else fit.schedule) != "constant"
    if setting and (is_own or is_scheduled):
        advice = "Give the optimizer a number" if is_own else "Give schedule='constant'"
        raise InvalidArgumentError(
            f"The callback {type(setting[0]).__name__} sets the learning rate, which follows a"
            f" schedule. {advice}, or leave out the callback."
        )


def default_optimizer(
    learning_rate: float | None, schedule: Any, steps: int | None
) -> keras.optimizers.Adam:
    """Return Adam with a schedule.

    Args:
        learning_rate: Float. The first learning rate; None for the default.
        schedule: Schedule as in `FitConfig`; None for "cosine".
        steps: Int. Number of steps of the training; None if unknown: the rate then stays, unless
            there is a `schedule`.
    """
    rate = DEFAULT_LEARNING_RATE if learning_rate is None else float(learning_rate)
    optimizer = keras.optimizers.Adam(rate)
    default = "constant" if steps is None else "cosine"
    set_schedule(optimizer, default if schedule is None else schedule, steps)
    return optimizer


def optimizer_for(model: keras.Model, optimizer: Any, known_models: Sequence[keras.Model]) -> Any:
    """Return a copy of the user's optimizer for a clone of a model.

    Args:
        model: Keras model. The clone.
        optimizer: Keras optimizer or its name. It is not changed.
        known_models: Sequence of Keras models, whose variables the optimizer may exclude from
            weight decay.
    """
    pairs = [pair for known in known_models for pair in match_variables(known, model)]
    return copy_optimizer(optimizer, pairs)


def with_slope_settings(optimizer: Any, slopes: SlopeConfig, steps_per_epoch: float) -> Any:
    """Return an optimizer that updates slopes by their settings, and all else as the given one.

    Args:
        optimizer: Keras optimizer. It is used in the new one.
        slopes: `SlopeConfig`. How slopes are trained.
        steps_per_epoch: Float. Number of steps in an epoch; 0 if unknown.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # The gradients of slopes are those that this optimizer has scaled back.
        optimizer.inner_optimizer = with_slope_settings(
            optimizer.inner_optimizer, slopes, steps_per_epoch
        )
        return optimizer
    return SlopeOptimizer(
        optimizer,
        1.0 if slopes.multiplier is None else slopes.multiplier,
        frozen_steps=round(slopes.frozen_epochs * steps_per_epoch),
        warmup_steps=round(slopes.warmup_epochs * steps_per_epoch),
        clipnorm=slopes.clipnorm,
    )
