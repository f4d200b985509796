"""Why tensors that steps connect can't be scaled by the weights that write and read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.layer_kinds import computes_as
from keras_prelu.graph.plan import ExecutionPlan, Step
from keras_prelu.graph.weight_constraints import may_be_scaled
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.layers import PReLU

__all__ = ["GroupRules", "compute_dtype", "is_homogeneous", "obstacle"]

_HOMOGENEOUS = (PReLU, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU)
"""Classes of activations with φ(s·x) = s·φ(x) for s > 0, without a cap and threshold."""

_FULL_RANGE = ("float32", "float64", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class GroupRules:
    """Which steps make a group, and by which weights it is scaled.

    Attributes:
        connects: Callable. Returns whether the outputs of a step are scaled as its inputs are, a
            cap and a penalty apart.
        makes: Callable. Returns whether the weights of a step's layer can scale its outputs.
        uses: Callable. Returns whether the weights of a step's layer can undo a scale of its
            inputs.
        written: Callable. Returns the variables that scaling the outputs of a layer changes.
        read: Callable. Returns the variables that scaling the inputs of a layer changes.
    """

    connects: Callable[[Step], bool]
    makes: Callable[[Step], bool]
    uses: Callable[[Step], bool]
    written: Callable[[Any], list[Any]]
    read: Callable[[Any], list[Any]]


def obstacle(
    plan: ExecutionPlan,
    shared: SharedVariables,
    rules: GroupRules,
    *,
    producers: Sequence[Step],
    connecting: Sequence[Step],
    consumers: Sequence[Step],
) -> str:
    """Return why a group can't be scaled, or "".

    Args:
        plan: `ExecutionPlan`.
        shared: `SharedVariables` of the plan.
        rules: `GroupRules`.
        producers: Sequence of `Step`. The steps that write the group.
        connecting: Sequence of `Step`. The steps that read and write it.
        consumers: Sequence of `Step`. The steps that read it.
    """
    return (
        _obstacle_between(connecting)
        or _obstacle_at_ends(plan, rules, producers, consumers)
        or _obstacle_of_weights(shared, rules, producers, consumers)
        or _obstacle_of_penalties(producers, connecting)
    )


def is_homogeneous(layer: Any) -> bool:
    """Return whether a layer is an activation with φ(s·x) = s·φ(x), except for a cap."""
    return (
        any(computes_as(layer, cls) for cls in _HOMOGENEOUS) and getattr(layer, "threshold", 0) == 0
    )


def compute_dtype(step: Step) -> str:
    """Return the dtype that a step computes in."""
    return str(getattr(step.operation, "compute_dtype", "float32"))


def _obstacle_between(connecting: Sequence[Step]) -> str:
    """Return why what connects the tensors changes with their scale, or ""."""
    for step in connecting:
        if getattr(step.operation, "max_value", None) is not None:
            return f"'{step.path}' has a cap, so that it is not homogeneous"
        reason = _obstacle_of_range(step)
        if reason:
            return reason
    return ""


def _obstacle_at_ends(
    plan: ExecutionPlan, rules: GroupRules, producers: Sequence[Step], consumers: Sequence[Step]
) -> str:
    """Return why a layer that writes or reads the tensors can't scale them, or ""."""
    for step in producers:
        if not rules.makes(step):
            return f"'{step.path}' has no weights that scale its output"
    for step in consumers:
        if not rules.uses(step):
            if is_batch_normalization(step.operation) and not step.operation.scale:
                return f"'{step.path}' has no γ to take up its ε, which does not scale"
            return f"'{step.path}' has no weights that scale its input"
    for step in (*producers, *consumers):
        if plan.call_count(step.operation) > 1:
            return f"'{step.path}' is called at several places"
        reason = _obstacle_of_range(step)
        if reason:
            return reason
    return ""


def _obstacle_of_weights(
    shared: SharedVariables,
    rules: GroupRules,
    producers: Sequence[Step],
    consumers: Sequence[Step],
) -> str:
    """Return why the weights that would be scaled have to stay as they are, or ""."""
    written = [(step, rules.written(step.operation)) for step in producers]
    read = [(step, rules.read(step.operation)) for step in consumers]
    for step, variables in (*written, *read):
        if shared.contains_any(variables):
            return f"'{step.path}' shares its weights with another layer"
        if not all(map(may_be_scaled, variables)):
            return f"'{step.path}' has a constraint, which scaled weights would violate"
    return ""


def _obstacle_of_penalties(producers: Sequence[Step], connecting: Sequence[Step]) -> str:
    """Return which layer adds a penalty on the tensors to the model's loss, or ""."""
    for step in (*producers, *connecting):
        if getattr(step.operation, "activity_regularizer", None) is not None:
            return f"'{step.path}' has an activity regularizer, which depends on the scale"
    return ""


def _obstacle_of_range(step: Step) -> str:
    """Return why scaled values might not fit the dtype that a step computes in, or ""."""
    dtype = compute_dtype(step)
    if dtype in _FULL_RANGE:
        return ""
    return f"'{step.path}' computes in {dtype}, which scaled channels might overflow"
