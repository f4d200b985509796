"""Folding BatchNormalization into the linear layer before it.

The copy computes the same function at inference, with one layer less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras

from keras_prelu.backend.keras_internals import producer
from keras_prelu.conversion.compile_settings import copy_compile_settings
from keras_prelu.conversion.rewriter import Replacements, copy_model
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import channel_axis, inference_factor, normalizes_last_axis
from keras_prelu.graph.channel_scaling import scale_outputs
from keras_prelu.graph.layer_kinds import has_linear_activation, is_channels_last
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import ExecutionPlan, compile_plan

__all__ = ["fold_batch_normalization"]


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Return a copy of a model with BatchNormalization folded into the linear layers before it.

    Exact at inference up to rounding: γ/√(σ² + ε) goes into the kernel, the remainder into a bias.
    In training the copy does not normalize. A layer and its BatchNormalization are folded if both
    are called once and nothing else reads the tensor between them.

    Args:
        model: `keras.Model`. Sequential or functional, with nested models. It is not changed.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph.
    """
    pairs = list(_foldable_pairs(compile_plan(model)))
    folded_layers: dict[str, Any] = {}
    replacements = Replacements()
    is_named = output_names(model) is not None  # A Sequential has no names of outputs.
    writers = {id(producer(tensor)) for tensor in model.outputs} if is_named else set()
    for pair in pairs:
        # A stock model takes the name of an output from the layer that creates it.
        last = pair.normalization if id(pair.normalization) in writers else pair.linear
        make = partial(_with_bias, pair, folded_layers, last.name)
        replacements.replace_operation(pair.linear, make)
        replacements.replace_operation(pair.normalization, list)
    copy = copy_model(model, replacements)
    for pair in pairs:
        _assign_folded_weights(folded_layers[pair.path], pair)
    if output_names(copy) is not None:
        copy.output_names = output_names(model)
    copy_compile_settings(model, copy)
    return copy


@dataclass(frozen=True)
class _FoldablePair:
    """A linear layer, its path, and the BatchNormalization to fold into it."""

    path: str
    linear: Any
    normalization: Any


def _foldable_pairs(plan: ExecutionPlan) -> Iterator[_FoldablePair]:
    for step in plan.steps:
        if not isinstance(step.operation, keras.layers.BatchNormalization):
            continue
        writer = plan.writer(step.inputs[0])
        if (
            writer is not None
            and plan.sole_reader(step.inputs[0]) is step
            and plan.call_count(step.operation) == plan.call_count(writer.operation) == 1
            and _normalizes_channels_of(writer.operation, step.operation)
        ):
            yield _FoldablePair(
                path=writer.path, linear=writer.operation, normalization=step.operation
            )


def _normalizes_channels_of(layer: Any, normalization: Any) -> bool:
    """Return whether a BatchNormalization can be folded into a layer.

    The layer must be linear, apply nothing after its bias, and output the channels that the
    BatchNormalization normalizes.
    """
    if linear_view(layer) is None or not hasattr(layer, "use_bias"):
        return False
    if not has_linear_activation(layer) or layer.activity_regularizer is not None:
        return False
    if is_channels_last(layer):
        return normalizes_last_axis(normalization)
    return channel_axis(normalization) == 1


def _with_bias(pair: _FoldablePair, folded_layers: dict[str, Any], name: str) -> Any:
    """Return a layer like the linear one of a pair, with a bias, and store it by its path."""
    layer = pair.linear
    folded = type(layer).from_config({**layer.get_config(), "use_bias": True, "name": name})
    folded_layers[pair.path] = folded
    return folded


def _assign_folded_weights(folded: Any, pair: _FoldablePair) -> None:
    """Assign the folded weights of both layers of a pair to a layer with a bias."""
    linear, normalization = pair.linear, pair.normalization
    for source, target in zip(_kernels(linear), _kernels(folded), strict=True):
        target.assign(source)
    if linear.use_bias:
        folded.bias.assign(linear.bias)
    scale = inference_factor(normalization)
    shift = -to_float64(normalization.moving_mean) * scale
    if normalization.center:
        shift = shift + to_float64(normalization.beta)
    scale_outputs(folded, scale)
    folded.bias.assign(to_float64(folded.bias) + shift.reshape(folded.bias.shape))


def _kernels(layer: Any) -> list[Any]:
    return [variable for variable in layer.variables if variable is not layer.bias]
