"""Private parts of Keras's optimizers: their states, settings and updates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

__all__ = [
    "MOVING_AVERAGES",
    "DecayExclusions",
    "built_for",
    "has_settable_rate",
    "moving_averages",
    "optimizer_config",
    "optimizer_map",
    "state_by_variable",
    "steps_counter",
    "treat_apart",
    "variable_index",
    "variable_key",
    "weight_decay_exclusions",
]


MOVING_AVERAGES = "_model_variables_moving_average"
"""The attribute in which an optimizer with `use_ema` keeps moving averages of its variables."""


def steps_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable in which an optimizer counts its steps.

    The public `iterations` differs from it if gradients accumulate.
    """
    return optimizer._iterations


def built_for(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables that an optimizer was built to train."""
    return list(optimizer._trainable_variables)


def state_by_variable(optimizer: keras.optimizers.Optimizer) -> dict[str, list[Any]]:
    """Return the state that an optimizer keeps for each of the variables that it trains.

    Keras's optimizers, and those that are written as its documentation says, hold it in lists with
    one entry for each variable: moments, accumulators, accumulated gradients, moving averages.

    Args:
        optimizer: Keras optimizer that updates variables itself, not one that delegates. Built.

    Returns:
        Dict from the name of an attribute to its list, in the order of the variables. An entry that
        is no `keras.Variable` stands for a variable without such state.
    """
    count = len(optimizer._trainable_variables)
    return {
        name: list(value)
        for name, value in vars(optimizer).items()
        if name not in ("_trainable_variables", "_variables")
        and isinstance(value, (list, tuple))
        and len(value) == count
        and any(isinstance(entry, keras.Variable) for entry in value)
    }


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int | None:
    """Return the place of a variable among those that an optimizer trains, or None."""
    index: int | None = optimizer._trainable_variables_indices.get(optimizer._var_key(variable))
    return index


def variable_key(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> Any:
    """Return the key by which an optimizer knows a variable."""
    return optimizer._var_key(variable)


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the moving averages that an optimizer with `use_ema` keeps of its variables.

    Raises:
        AttributeError: The optimizer keeps none, or is not built.
    """
    return list(getattr(optimizer, MOVING_AVERAGES))


def optimizer_config(optimizer: keras.optimizers.Optimizer, **stand_ins: Any) -> dict[str, Any]:
    """Return the configuration of an optimizer, with a schedule or function as the object itself.

    The class of the schedule need not be registered, nor have a configuration.

    Args:
        optimizer: Keras optimizer.
        **stand_ins: Values that take the place of attributes of the optimizer in the configuration.
    """
    setting = optimizer._learning_rate
    is_object = callable(setting) and not isinstance(setting, keras.Variable)
    if is_object:
        stand_ins["_learning_rate"] = None
    # `copy.copy` would save and load the optimizer.
    stand_in = object.__new__(type(optimizer))
    vars(stand_in).update(vars(optimizer), **stand_ins)
    config = dict(stand_in.get_config())
    if is_object and "learning_rate" in config:
        config["learning_rate"] = setting
    return config


def has_settable_rate(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the learning rate of an optimizer is a number, which can be set."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return isinstance(optimizer._learning_rate, keras.Variable)


def optimizer_map(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the map or function by which a `MultiOptimizer` chooses; None for other optimizers."""
    return getattr(optimizer, "_optimizer_map", None)


class DecayExclusions(NamedTuple):
    """What an optimizer excludes from weight decay.

    Attributes:
        keys: Frozen set. Keys of variables, see `variable_key`.
        pattern: String. Regular expression that matches names of variables, or "".
    """

    keys: frozenset[Any]
    pattern: str


def weight_decay_exclusions(optimizer: keras.optimizers.Optimizer) -> DecayExclusions:
    """Return what `exclude_from_weight_decay` was called with."""
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    return DecayExclusions(
        keys=frozenset(getattr(optimizer, "_exclude_from_weight_decay", ())),
        pattern="" if pattern is None else pattern.pattern,
    )


def treat_apart(
    optimizer: keras.optimizers.Optimizer,
    is_member: Callable[[keras.Variable], bool],
    *,
    rate: Callable[[Any], Any] | None,
    clip: Callable[[Any], Any] | None,
) -> None:
    """Let an optimizer treat some of its variables apart, in place.

    They get no weight decay. All else that the optimizer does for all variables together, such as
    clipping by the global norm, remains as it is.

    Args:
        optimizer: Keras optimizer that updates variables itself, not one that delegates.
        is_member: Function that returns whether a variable is treated apart.
        rate: Function from the optimizer's learning rate to that of these variables. None stands
            for the same.
        clip: Function that clips the gradient of one of these variables, in place of the
            optimizer's own clipping. None stands for the optimizer's.
    """
    kind = type(optimizer)

    def apply_weight_decay(variables: Sequence[Any]) -> None:
        others = [variable for variable in variables if not is_member(variable)]
        if others:
            kind._apply_weight_decay(optimizer, others)

    # Attributes of the instance hide the methods of its class, which an attribute set by an earlier
    # call does not: a second call replaces what the first one did.
    optimizer._apply_weight_decay = apply_weight_decay
    if rate is not None:
        optimizer._backend_update_step = functools.partial(
            _update_apart, optimizer, is_member, rate
        )
    if clip is not None:
        _clip_apart(optimizer, is_member, clip)


def _update_apart(
    optimizer: Any,
    is_member: Callable[[Any], bool],
    rate: Callable[[Any], Any],
    gradients: Sequence[Any],
    variables: Sequence[Any],
    learning_rate: Any,
) -> None:
    """Update variables, those apart with a learning rate of their own."""
    kind = type(optimizer)
    for apart in (False, True):
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if is_member(variable) == apart
        ]
        if not pairs:
            continue
        rate_of_group = rate(learning_rate) if apart else learning_rate
        if apart and not kind.__module__.startswith("keras."):
            # A user's `update_step` may read the optimizer's learning rate, not its argument.
            optimizer._get_current_learning_rate = lambda value=rate_of_group: value
        try:
            kind._backend_update_step(
                optimizer,
                [gradient for gradient, _ in pairs],
                [variable for _, variable in pairs],
                rate_of_group,
            )
        finally:
            vars(optimizer).pop("_get_current_learning_rate", None)


def _clip_apart(
    optimizer: Any, is_member: Callable[[Any], bool], clip: Callable[[Any], Any]
) -> None:
    kind = type(optimizer)
    applied: list[Any] = []  # The variables of the gradients that are clipped next.

    def apply_gradients(gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        applied[:] = variables
        kind._backend_apply_gradients(optimizer, gradients, variables)

    def clip_gradients(gradients: Sequence[Any]) -> list[Any]:
        clipped = kind._clip_gradients(optimizer, gradients)
        return [
            clip(gradient) if is_member(variable) else other
            for gradient, other, variable in zip(gradients, clipped, applied, strict=True)
        ]

    optimizer._backend_apply_gradients = apply_gradients
    optimizer._clip_gradients = clip_gradients
