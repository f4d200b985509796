"""Resetting the state that an optimizer keeps for some entries of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import (
    MOVING_AVERAGES,
    built_for,
    state_by_variable,
    variable_index,
)
from keras_prelu.backend.variables import snapshot
from keras_prelu.conversion.optimizer_copies import copy_optimizer, single_optimizers
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.revival.records import ChangedEntries
from keras_prelu.typing import Array

__all__ = ["check_state", "renew_copies", "reset_state"]

_REDUCED_AXES = {"_r": -1, "_c": -2}
"""The axis of a kernel over which Adafactor averages each part of its factored state."""


def check_state(optimizer: Any) -> None:
    """Check that the state of an optimizer can be reset for single entries.

    Args:
        optimizer: Keras optimizer that is built, also one that delegates to others.

    Raises:
        InvalidArgumentError: A ValueError; it has state that belongs to no variable as far as can
            be seen, or it can't be copied.
    """
    for single in single_optimizers(optimizer):
        copy_optimizer(single)
        lists = state_by_variable(single)
        known = {id(state) for states in lists.values() for state in states}
        for state in single.variables:
            if len(state.shape) and id(state) not in known:
                raise _unknown_state(single, state)
        for name, states in lists.items():
            for variable, state in zip(built_for(single), states, strict=True):
                if isinstance(state, keras.Variable):
                    _mask_of_state(single, name, state, np.zeros(tuple(variable.shape), dtype=bool))


def reset_state(optimizer: Any, changed: Sequence[ChangedEntries]) -> None:
    """Give an optimizer the state that it starts with, for some entries of the weights alone.

    All other state, bit for bit, and the count of steps remain. A part of the state that
    summarizes several entries, as Adafactor's means over rows and columns do, is reset if all of
    these are. Moving averages of the weights (`use_ema`) become the present weights.

    Args:
        optimizer: Keras optimizer that is built, also one that delegates to others.
        changed: Sequence of `ChangedEntries`. Entries that were assigned fresh values. Variables
            that the optimizer does not train are skipped.

    Raises:
        InvalidArgumentError: As in `check_state`.
    """
    for single in single_optimizers(optimizer):
        trained = [each for each in changed if variable_index(single, each.variable) is not None]
        if trained:
            _reset(single, trained)


def renew_copies(optimizer: Any, changed: Sequence[ChangedEntries]) -> None:
    """Assign the present weights to what an optimizer holds as copies of them, for some entries.

    Those are moving averages (`use_ema`) and the points of a schedule-free optimizer, from which
    weights are assigned later. All other state remains.

    Args:
        optimizer: Keras optimizer, also one that delegates to others. Nothing happens before it is
            built.
        changed: Sequence of `ChangedEntries`, as in `reset_state`.
    """
    for single in single_optimizers(optimizer):
        if not single.built:
            continue
        trained = [each for each in changed if variable_index(single, each.variable) is not None]
        lists = state_by_variable(single)
        for name in _copies(single, [each.variable for each in trained]) if trained else ():
            for entries in trained:
                state = lists[name][variable_index(single, entries.variable) or 0]
                if _is_readable(state) and tuple(state.shape) == entries.mask.shape:
                    weights = snapshot(entries.variable)
                    state.assign(np.where(entries.mask, weights, snapshot(state)))


def _is_readable(state: Any) -> bool:
    """Return whether state is a variable whose value JAX has not given away.

    At the end of a training on JAX, Keras lets weights share the memory of their moving averages,
    which the next prediction gives away.
    """
    if not isinstance(state, keras.Variable):
        return False
    is_deleted = getattr(state.value, "is_deleted", None)
    return is_deleted is None or not is_deleted()


def _copies(optimizer: Any, variables: Sequence[Any]) -> list[str]:
    """Return the names of the lists of state that start as the weights themselves."""
    names = [name for name in state_by_variable(optimizer) if name == MOVING_AVERAGES]
    try:
        fresh = copy_optimizer(optimizer)
    except InvalidArgumentError:
        return names
    fresh.build(variables)
    return names + [
        name
        for name, states in state_by_variable(fresh).items()
        if name != MOVING_AVERAGES and _start_as(states, variables)
    ]


def _start_as(states: Sequence[Any], variables: Sequence[Any]) -> bool:
    pairs = [
        (snapshot(state), snapshot(variable))
        for state, variable in zip(states, variables, strict=True)
        if isinstance(state, keras.Variable)
    ]
    return any(state.any() for state, _ in pairs) and all(
        np.array_equal(state, weights) for state, weights in pairs
    )


def _reset(optimizer: Any, changed: Sequence[ChangedEntries]) -> None:
    fresh = copy_optimizer(optimizer)
    fresh.build([each.variable for each in changed])
    fresh_lists = state_by_variable(fresh)
    for name, states in state_by_variable(optimizer).items():
        for position, entries in enumerate(changed):
            state = states[variable_index(optimizer, entries.variable) or 0]
            if not isinstance(state, keras.Variable):
                continue
            mask = _mask_of_state(optimizer, name, state, entries.mask)
            if mask is None or not mask.any():
                continue
            is_average = name == MOVING_AVERAGES
            initial = entries.variable if is_average else fresh_lists[name][position]
            state.assign(np.where(mask, snapshot(initial), snapshot(state)))


def _mask_of_state(optimizer: Any, name: str, state: Any, mask: Array) -> Array | None:
    """Return which entries of a variable's state are reset; None for a number that all share."""
    shape = tuple(state.shape)
    if shape == mask.shape:
        return mask
    if not shape:
        return None
    axis = _REDUCED_AXES.get(name) if isinstance(optimizer, keras.optimizers.Adafactor) else None
    if axis is None:
        raise _unknown_state(optimizer, state)
    return np.all(mask, axis=axis)


def _unknown_state(optimizer: Any, state: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The state of optimizer '{optimizer.name}' ({type(optimizer).__name__}) can't be reset for"
        f" revived units: '{state.path}' belongs to no weight that is known. Hold such state in"
        " lists with one variable of the weight's shape for each weight, as Keras's optimizers do."
    )
