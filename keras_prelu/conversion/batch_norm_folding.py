"""Folding BatchNormalization into the layer before it: the same function at inference, with a layer
less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.graph.channel_scaling import numbers, scale_outputs
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, compile_plan

__all__ = ["fold_batch_normalization"]


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """A copy of a model in which linear layers do what the BatchNormalization after them did.

    Exact at inference up to rounding: γ/√(σ² + ε) goes into the kernel, what is left into a bias.
    In training the copy normalizes nothing. Folded where the layer and its BatchNormalization are
    called once, and nothing else reads what is between them.

    Args:
        model: Sequential or functional, nested models too. It is not changed.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph.
    """
    pairs = list(_pairs(compile_plan(model)))
    folded: dict[int, Any] = {}
    replaced: dict[tuple[int, int | None], Callable[[], Any]] = {}
    for linear, normalization in pairs:
        replaced[id(linear), None] = partial(_with_bias, linear, folded)
        replaced[id(normalization), None] = list
    copy = rewrite(model, replaced=replaced)
    for linear, normalization in pairs:
        _fold(linear, normalization, folded[id(linear)])
    return copy


def _pairs(plan: ExecutionPlan) -> Iterator[tuple[Any, Any]]:
    """Linear layers and the BatchNormalization layers that read them and nothing else does."""
    for step in plan.steps:
        before = plan.writer(step.inputs[0]) if step.inputs else None
        if before is None or not isinstance(step.operation, keras.layers.BatchNormalization):
            continue
        once = (
            plan.sole_reader(step.inputs[0]) is step
            and plan.call_count(step.operation) == plan.call_count(before.operation) == 1
        )
        if once and _match(before.operation, step.operation):
            yield before.operation, step.operation


def _match(linear: Any, normalization: Any) -> bool:
    """Whether a layer puts out, with nothing in between, the channels that a BatchNormalization
    normalizes."""
    if linear_view(linear) is None or not hasattr(linear, "use_bias"):
        return False
    if (
        getattr(linear, "activation", None) not in (None, keras.activations.linear)
        or linear.activity_regularizer is not None
    ):
        return False
    last = len(normalization.get_build_config()["input_shape"]) - 1
    axis = 1 if getattr(linear, "data_format", None) == "channels_first" else last
    return normalization.axis % (last + 1) == axis


def _with_bias(linear: Any, made: dict[int, Any]) -> Any:
    made[id(linear)] = type(linear).from_config({**linear.get_config(), "use_bias": True})
    return made[id(linear)]


def _fold(linear: Any, normalization: Any, folded: Any) -> None:
    """Give the new layer the weights of both."""
    kernels = [variable for variable in linear.variables if variable is not linear.bias]
    for source, target in zip(
        kernels,
        [variable for variable in folded.variables if variable is not folded.bias],
        strict=True,
    ):
        target.assign(source)
    if linear.use_bias:
        folded.bias.assign(linear.bias)
    scale = 1.0 / np.sqrt(numbers(normalization.moving_variance) + normalization.epsilon)
    if normalization.scale:
        scale = scale * numbers(normalization.gamma)
    shift = -numbers(normalization.moving_mean) * scale
    if normalization.center:
        shift = shift + numbers(normalization.beta)
    scale_outputs(folded, scale)
    folded.bias.assign(numbers(folded.bias) + shift.reshape(folded.bias.shape))
