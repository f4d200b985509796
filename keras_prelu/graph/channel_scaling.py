"""Scaling of the channels that a layer writes or reads, through its weights (claim 6)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.layer_kinds import computes_as, is_channels_last, keras_class
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.typing import Array

__all__ = [
    "input_variables",
    "is_batch_normalization",
    "output_channels",
    "output_variables",
    "reads_channels",
    "scale_inputs",
    "scale_outputs",
]


_INPUTS_NEXT_TO_LAST = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D"}
)
"""Class names of layers whose kernel has the input channels on its next to last axis."""


def is_batch_normalization(layer: Any) -> bool:
    """Return whether a layer computes what `keras.layers.BatchNormalization` does."""
    return computes_as(layer, keras.layers.BatchNormalization)


def output_channels(layer: Any) -> int:
    """Return how many channels `scale_outputs` scales: 0 if a layer has no weights to scale."""
    if is_batch_normalization(layer):
        return int(layer.gamma.shape[0]) if layer.scale and layer.center else 0
    view = linear_view(layer)
    if view is None:
        return 0
    matrix = view.to_matrix(np.empty(view.kernel.shape, dtype=bool))
    return int(matrix.shape[0] * matrix.shape[2])


def output_variables(layer: Any) -> list[Any]:
    """Return the variables that `scale_outputs` changes."""
    if is_batch_normalization(layer):
        return [layer.gamma, layer.beta]
    view = linear_view(layer)
    assert view is not None
    return [view.kernel] if view.bias is None else [view.kernel, view.bias]


def input_variables(layer: Any) -> list[Any]:
    """Return the variables that `scale_inputs` changes."""
    if is_batch_normalization(layer):
        return [layer.moving_mean, layer.moving_variance, layer.gamma]
    return [layer.kernel]


def reads_channels(layer: Any, channels: int | None = None) -> bool:
    """Return whether `scale_inputs` can scale the channels that a linear layer reads.

    These are the channels of the next to last axis of its kernel.

    Args:
        layer: Any. The layer.
        channels: Integer or None. The number of channels that it has to read. Defaults to None, any
            number.
    """
    cls = keras_class(layer)
    if cls is None or cls.__name__ not in _INPUTS_NEXT_TO_LAST or linear_view(layer) is None:
        return False
    return (
        is_channels_last(layer)
        and getattr(layer, "groups", 1) == 1
        and channels in (None, int(layer.kernel.shape[-2]))
    )


def scale_outputs(layer: Any, scales: Array) -> None:
    """Scale what a layer writes before its activation.

    Scales the γ and β of a BatchNormalization, or the kernel and bias of a linear layer.

    Args:
        layer: Layer for which `output_channels` is not 0. It is modified in place.
        scales: Array of floats, one for each channel.
    """
    if is_batch_normalization(layer):
        for variable in (layer.gamma, layer.beta):
            variable.assign(to_float64(variable) * scales)
        return
    view = linear_view(layer)
    assert view is not None
    matrix = view.to_matrix(to_float64(view.kernel))
    by_group = scales.reshape(matrix.shape[0], 1, matrix.shape[2])
    view.kernel.assign(view.from_matrix(matrix * by_group))
    if view.bias is not None:
        bias = view.bias_to_matrix(to_float64(view.bias))
        view.bias.assign(view.bias_from_matrix(bias * by_group))


def scale_inputs(layer: Any, scales: Array) -> None:
    """Scale the weights by which a layer multiplies each channel that it reads.

    For a BatchNormalization, the inverse scales go into the moving statistics, as they would in
    training. Its ε is not scaled: the part that a variance of 0 can't absorb goes into γ.

    Args:
        layer: BatchNormalization with γ, or a layer for which `reads_channels` is true. It is
            modified in place.
        scales: Array of floats, one for each channel.
    """
    if not is_batch_normalization(layer):
        layer.kernel.assign(to_float64(layer.kernel) * scales[:, None])
        return
    variance = to_float64(layer.moving_variance) + layer.epsilon
    wanted = variance / np.square(scales)
    reached = np.maximum(wanted, layer.epsilon)
    layer.moving_mean.assign(to_float64(layer.moving_mean) / scales)
    layer.moving_variance.assign(reached - layer.epsilon)
    layer.gamma.assign(to_float64(layer.gamma) * np.sqrt(reached / wanted))
