"""Schedules of the learning rate over the steps of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_prelu.backend.keras_internals import has_settable_rate, optimizer_map
from keras_prelu.errors import InvalidArgumentError

__all__ = ["SCHEDULES", "check_schedule", "set_schedule"]

_schedules = keras.optimizers.schedules
_WARMUP = 0.05

SCHEDULES: dict[str, Callable[[float, int], Any]] = {
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: _schedules.CosineDecay(rate, steps),
    "linear": lambda rate, steps: _schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0),
    "warmup-cosine": lambda rate, steps: _schedules.CosineDecay(
        0.0,
        max(1, steps - round(_WARMUP * steps)),
        warmup_target=rate,
        warmup_steps=max(1, round(_WARMUP * steps)),
    ),
}
"""Functions of the first learning rate and the number of steps that return a schedule. "cosine" and
"linear" decay to 0; "warmup-cosine" rises in the first twentieth of the steps before."""


def check_schedule(schedule: Any) -> None:
    """Check that an argument is a schedule.

    Raises:
        InvalidArgumentError: A ValueError; it is neither a name of `SCHEDULES` nor a function.
    """
    if schedule is not None and schedule not in list(SCHEDULES) and not callable(schedule):
        raise InvalidArgumentError(
            f"`schedule` must be one of {', '.join(map(repr, SCHEDULES))}, or a function of the"
            f" learning rate and the number of steps. Received: schedule={schedule!r}"
        )


def set_schedule(optimizer: keras.optimizers.Optimizer, schedule: Any, steps: int | None) -> None:
    """Give an optimizer a schedule that begins at its learning rate.

    Args:
        optimizer: Keras optimizer that has not trained. It is changed.
        schedule: Name in `SCHEDULES`, or a function of the learning rate and the number of steps
            that returns a Keras schedule; None leaves the optimizer as it is.
        steps: Int. Number of steps of the training; None if unknown.

    Raises:
        InvalidArgumentError: A ValueError; the optimizer has a schedule of its own or no rate, or
            there is no number of steps.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if schedule is None or schedule == "constant":
        return
    if steps is None:
        raise InvalidArgumentError(
            "A schedule needs the number of steps, and this stream has no length. Give samples, a"
            " stream with a length, or schedule='constant'."
        )
    if optimizer_map(inner) is not None:
        raise InvalidArgumentError(
            f"The optimizer '{inner.name}' ({type(inner).__name__}) has no learning rate of its own"
            " that a schedule could begin at. Leave out `schedule`, and give its optimizers"
            " schedules."
        )
    if not has_settable_rate(inner):
        raise InvalidArgumentError(
            f"The optimizer '{inner.name}' has a schedule of its own. Leave out `schedule`, or give"
            " the optimizer a number as its learning rate."
        )
    make = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    rate = float(keras.ops.convert_to_numpy(inner.learning_rate))
    made = make(rate, steps)
    if isinstance(made, _schedules.LearningRateSchedule):
        inner.learning_rate = made
    elif isinstance(made, (int, float)):
        inner.learning_rate = float(made)
    else:
        name = getattr(schedule, "__name__", schedule)
        raise InvalidArgumentError(
            f"`schedule` {name} must return a keras.optimizers.schedules.LearningRateSchedule or a"
            f" number. Received: {type(made).__name__}"
        )
