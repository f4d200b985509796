"""Folding BatchNormalization into the linear layer before it.

The copy computes the same function at inference, with one layer less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import producer
from keras_prelu.conversion.compile_settings import copy_compile_settings
from keras_prelu.conversion.replacements import Replacements
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.graph import functional
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import channel_axis, inference_factor, normalizes_last_axis
from keras_prelu.graph.layer_kinds import has_linear_activation, is_channels_last
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.typing import Array
from keras_prelu.utils.rounding import epsilon

__all__ = ["fold_batch_normalization"]


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Return a copy of a model with BatchNormalization folded into the linear layers before it.

    Exact at inference up to rounding: γ/√(σ² + ε) goes into the kernel, the remainder into a bias.
    In training the copy does not normalize, and the folded layers have no regularizers: their
    weights are products, for which the penalties would be others. A layer and its
    BatchNormalization are folded if both are called once, nothing else reads the tensor between
    them or uses their weights, both compute in the same dtype, and that dtype can hold the folded
    weights. Layers with constraints, and BatchNormalizations that are called with `training=True`,
    are kept.

    Args:
        model: `keras.Model`. Sequential or functional, with nested models. It is not changed.

    Returns:
        A new model.

    Raises:
        ConversionError: The model has no graph.
    """
    plan = compile_plan(model)
    pairs = list(_foldable_pairs(plan, _called_in_training_mode(model), SharedVariables(plan)))
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
class _FoldedWeights:
    """The weights of a linear layer and a BatchNormalization together, in float64."""

    kernel: Array
    bias: Array


@dataclass(frozen=True)
class _FoldablePair:
    """A linear layer, its path, and the BatchNormalization to fold into it.

    Attributes:
        path: String. Path of the linear layer.
        linear: Layer. The linear layer.
        normalization: `keras.layers.BatchNormalization`.
        weights: `_FoldedWeights`.
    """

    path: str
    linear: Any
    normalization: Any
    weights: _FoldedWeights


def _foldable_pairs(
    plan: ExecutionPlan, training: set[int], shared: SharedVariables
) -> Iterator[_FoldablePair]:
    """Yield the pairs to fold.

    Args:
        plan: `ExecutionPlan` of the model.
        training: Set of integers. Ids of the operations that are called in training mode.
        shared: `SharedVariables` of the plan.
    """
    for step in plan.steps:
        if not _normalizes_by_moving_statistics(step) or id(step.operation) in training:
            continue
        writer = plan.writer(step.inputs[0])
        if (
            writer is None
            or plan.sole_reader(step.inputs[0]) is not step
            or not plan.call_count(step.operation) == plan.call_count(writer.operation) == 1
            or not _normalizes_channels_of(writer.operation, step.operation)
            or shared.contains_any(writer.operation.variables)
            or shared.contains_any(step.operation.variables)
        ):
            continue
        weights = _fold(writer.operation, step.operation)
        if _fits(weights, writer.operation):
            yield _FoldablePair(
                path=writer.path,
                linear=writer.operation,
                normalization=step.operation,
                weights=weights,
            )


def _called_in_training_mode(model: keras.Model, inside: bool = False) -> set[int]:
    """Return the ids of the operations that the graph calls with `training=True`.

    Args:
        model: `keras.Model`. A model with a graph.
        inside: Boolean. Whether the model itself is called with `training=True`.
    """
    found: set[int] = set()
    for call in functional.calls(model):
        training = call.kwargs.get("training")
        pinned = inside if training is None else bool(training)
        if is_taken_apart(call.operation):
            found |= _called_in_training_mode(call.operation, pinned)
        elif pinned:
            found.add(id(call.operation))
    return found


def _normalizes_by_moving_statistics(step: Step) -> bool:
    """Return whether a step is a BatchNormalization as Keras defines it, for inference."""
    layer = step.operation
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and type(layer).call is keras.layers.BatchNormalization.call
        and len(step.args) <= 1  # The second positional argument is `training`.
        and layer.activity_regularizer is None
        and layer.gamma_constraint is layer.beta_constraint is None
    )


def _normalizes_channels_of(layer: Any, normalization: Any) -> bool:
    """Return whether a BatchNormalization can be folded into a layer.

    The layer must be linear, apply nothing after its bias, output the channels that the
    BatchNormalization normalizes, and compute in the same dtype.
    """
    view = linear_view(layer)
    if view is None or not hasattr(layer, "use_bias"):
        return False
    if not has_linear_activation(layer) or layer.activity_regularizer is not None:
        return False
    if layer.compute_dtype != normalization.compute_dtype or _is_constrained(layer):
        return False
    if is_channels_last(layer):
        return normalizes_last_axis(normalization)
    return channel_axis(normalization) == 1


def _is_constrained(layer: Any) -> bool:
    return any(
        value is not None for name, value in vars(layer).items() if name.endswith("_constraint")
    )


def _fold(linear: Any, normalization: Any) -> _FoldedWeights:
    view = linear_view(linear)
    assert view is not None
    # Weights that are too large for a dtype are infinite, and `_fits` refuses them.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = inference_factor(normalization)
        bias = -to_float64(normalization.moving_mean) * scale
        if normalization.center:
            bias = bias + to_float64(normalization.beta)
        matrix = view.to_matrix(to_float64(view.kernel))
        by_output = scale.reshape(matrix.shape[0], 1, matrix.shape[2])
        if view.bias is not None:
            bias = bias + to_float64(view.bias) * scale
        return _FoldedWeights(kernel=view.from_matrix(matrix * by_output), bias=bias)


def _fits(weights: _FoldedWeights, layer: Any) -> bool:
    """Return whether the dtypes of a layer's variables and of its arithmetic hold weights."""
    view = linear_view(layer)
    assert view is not None
    matrix = view.to_matrix(weights.kernel)
    for dtype in {layer.variable_dtype, layer.compute_dtype}:
        with np.errstate(over="ignore", invalid="ignore"):
            kernel = to_float64(keras.ops.cast(matrix.astype(_widest(dtype)), dtype))
            bias = to_float64(keras.ops.cast(weights.bias.astype(_widest(dtype)), dtype))
            if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                return False
            largest = np.abs(matrix).max(axis=1)
            error = np.abs(kernel - matrix).max(axis=1)
        # Rounding changes a weight by half of this, but the smallest (subnormal) numbers of half
        # precision are further apart.
        if np.any(error > epsilon(dtype) * largest):
            return False
    return True


def _widest(dtype: str) -> str:
    """Return the dtype in which values are handed to the backend to cast them to a dtype."""
    return "float64" if dtype == "float64" else "float32"


def _with_bias(pair: _FoldablePair, folded_layers: dict[str, Any], name: str) -> Any:
    """Return a layer like the linear one of a pair, with a bias, and store it by its path."""
    config = pair.linear.get_config()
    config.update({key: None for key in config if key.endswith("_regularizer")})
    folded = type(pair.linear).from_config({**config, "use_bias": True, "name": name})
    folded_layers[pair.path] = folded
    return folded


def _assign_folded_weights(folded: Any, pair: _FoldablePair) -> None:
    view = linear_view(folded)
    assert view is not None
    view.kernel.assign(pair.weights.kernel)
    kept = zip(_other_kernels(pair.linear), _other_kernels(folded), strict=True)
    for source, target in kept:
        target.assign(source)
    folded.bias.assign(pair.weights.bias.reshape(folded.bias.shape))


def _other_kernels(layer: Any) -> list[Any]:
    """Return the variables that folding leaves unchanged, such as a depthwise kernel."""
    view = linear_view(layer)
    assert view is not None
    return [
        variable
        for variable in layer.variables
        if variable is not layer.bias and variable is not view.kernel
    ]
