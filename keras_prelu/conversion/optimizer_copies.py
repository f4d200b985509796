"""Copies of optimizers without their state, for another model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras

from keras_prelu.backend.keras_internals import (
    optimizer_config,
    optimizer_map,
    variable_key,
    weight_decay_exclusions,
)
from keras_prelu.conversion.optimizer_and_metric_copies import copy_from_config
from keras_prelu.conversion.variable_matching import VariablePair
from keras_prelu.errors import InvalidArgumentError, reason_of

__all__ = [
    "copy_optimizer",
    "described_exclusions",
    "resolved_optimizer",
    "single_optimizers",
    "unknown_exclusions",
    "with_inner_optimizers",
]


def resolved_optimizer(optimizer: Any) -> Any:
    """Return a Keras optimizer, given it, its name or its configuration.

    Raises:
        InvalidArgumentError: A ValueError; it is none of these.
    """
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        received = repr(optimizer) if isinstance(optimizer, str) else type(optimizer).__name__
        advice = " Construct it: Adam(), not Adam." if isinstance(optimizer, type) else ""
        raise InvalidArgumentError(
            "`optimizer` must be a Keras optimizer or the name of one, such as 'adam'."
            f"{advice} Received: {received}"
        ) from error


def copy_optimizer(optimizer: Any, pairs: Sequence[VariablePair] = ()) -> Any:
    """Return an optimizer that does for one model what a given optimizer does for another.

    It has the same settings and no state. Beyond what `get_config` holds, these are the variables
    that are excluded from weight decay, and schedules and functions that are not registered.

    Args:
        optimizer: Keras optimizer or its name. It is not changed.
        pairs: Sequence of `VariablePair`. Variables that the optimizer may exclude from weight
            decay, and those to exclude instead.

    Raises:
        InvalidArgumentError: A ValueError; the optimizer can't be copied. The message names what is
            missing.
    """
    optimizer = resolved_optimizer(optimizer)
    if optimizer_map(optimizer) is not None:
        copy = _copy_multi_optimizer(optimizer, pairs)
    elif hasattr(optimizer, "inner_optimizer"):
        copy = _copy_wrapper(optimizer, pairs)
    else:
        copy = copy_from_config(optimizer, partial(optimizer_config, optimizer))
    exclusions = weight_decay_exclusions(optimizer)
    if exclusions.keys or exclusions.pattern:
        copy.exclude_from_weight_decay(
            var_list=[
                pair.target
                for pair in pairs
                if pair.target is not None
                and variable_key(optimizer, pair.source) in exclusions.keys
            ],
            var_names=[exclusions.pattern] if exclusions.pattern else None,
        )
    return copy


def unknown_exclusions(optimizer: Any, pairs: Sequence[VariablePair]) -> int:
    """Return how many variables an optimizer excludes from weight decay that are not in `pairs`."""
    known = {variable_key(optimizer, pair.source) for pair in pairs}
    return sum(
        len(weight_decay_exclusions(one).keys - known)
        for one in with_inner_optimizers(resolved_optimizer(optimizer))
    )


def described_exclusions(optimizer: Any, models: Sequence[keras.Model]) -> list[Any]:
    """Return what an optimizer excludes from weight decay in a form that every process gives."""
    optimizer = resolved_optimizer(optimizer)
    variables = [variable for model in models for variable in model.variables]
    described = []
    for one in with_inner_optimizers(optimizer):
        exclusions = weight_decay_exclusions(one)
        described.append(
            (
                exclusions.pattern,
                [variable_key(one, variable) in exclusions.keys for variable in variables],
            )
        )
    return described


def with_inner_optimizers(optimizer: Any) -> Iterator[Any]:
    """Yield an optimizer and those that it delegates to, at any depth; one may occur twice."""
    yield optimizer
    inner = [*getattr(optimizer, "optimizers", ())]
    if hasattr(optimizer, "inner_optimizer"):
        inner.append(optimizer.inner_optimizer)
    for one in inner:
        yield from with_inner_optimizers(one)


def single_optimizers(optimizer: Any) -> list[Any]:
    """Return the optimizers that update variables themselves, each once."""
    found = {
        id(each): each
        for each in with_inner_optimizers(optimizer)
        if not hasattr(each, "inner_optimizer") and not hasattr(each, "optimizers")
    }
    return list(found.values())


def _copy_wrapper(optimizer: Any, pairs: Sequence[VariablePair]) -> Any:
    """Return a copy of an optimizer around another, such as a LossScaleOptimizer."""
    inner = copy_optimizer(optimizer.inner_optimizer, pairs)
    try:
        # The inner optimizer itself may have no configuration.
        config = optimizer_config(optimizer, inner_optimizer=keras.optimizers.SGD())
        return type(optimizer)(
            inner,
            **{
                key: value
                for key, value in config.items()
                if key not in ("optimizer", "inner_optimizer")
            },
        )
    except Exception as error:  # Whatever the user's code raises.
        raise InvalidArgumentError(
            f"'{optimizer.name}' ({type(optimizer).__name__}) can't be copied: its constructor does"
            " not take the inner optimizer and its configuration"
            f" ({reason_of(error)})."
        ) from error


def _copy_multi_optimizer(optimizer: Any, pairs: Sequence[VariablePair]) -> Any:
    mapping = optimizer_map(optimizer)
    if not isinstance(mapping, keras.optimizers.OptimizerMap):
        raise InvalidArgumentError(
            f"'{optimizer.name}' ({type(optimizer).__name__}) can't be copied: it chooses by a"
            " function, which may return the same optimizer for two models. Give it an"
            " OptimizerMap."
        )
    copies: dict[int, Any] = {}  # By id, since patterns may share an optimizer.

    def copied(inner: Any) -> Any:
        if id(inner) not in copies:
            copies[id(inner)] = copy_optimizer(inner, pairs)
        return copies[id(inner)]

    new_map = type(mapping)(
        copied(mapping.default_optimizer),
        {pattern: copied(mapping[pattern]) for pattern in mapping},
    )
    return type(optimizer)(
        new_map, loss_scale_factor=optimizer.loss_scale_factor, name=optimizer.name
    )
