"""Multiplying the channels that a layer puts out, or those that it reads, through its weights
(claim 6)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.graph.linear_layers import linear_view

__all__ = ["numbers", "output_channels", "reads_channels", "scale_inputs", "scale_outputs"]

Array = np.ndarray

_INPUTS_NEXT_TO_LAST = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D"}
)


def numbers(tensor: Any) -> Array:
    """A tensor or variable in float64."""
    return np.asarray(
        keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")), dtype=np.float64
    )


def output_channels(layer: Any) -> int:
    """How many channels `scale_outputs` scales: 0 for a layer that has no weights which do."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return int(layer.gamma.shape[0]) if layer.scale and layer.center else 0
    view = linear_view(layer)
    if view is None:
        return 0
    matrix = view.to_matrix(np.empty(view.kernel.shape, dtype=bool))
    return int(matrix.shape[0] * matrix.shape[2])


def reads_channels(layer: Any, channels: int) -> bool:
    """Whether `scale_inputs` can scale so many channels that a layer reads: those of the next to
    last axis of its kernel."""
    if linear_view(layer) is None or type(layer).__name__ not in _INPUTS_NEXT_TO_LAST:
        return False
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return (
        channels_last
        and getattr(layer, "groups", 1) == 1
        and int(layer.kernel.shape[-2]) == channels
    )


def scale_outputs(layer: Any, scales: Array) -> None:
    """Multiply what a layer puts out before its activation: a BatchNormalization's γ and β, or a
    linear layer's kernel and bias.

    Args:
        layer: One that `output_channels` knows.
        scales: A number for each channel.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        for variable in (layer.gamma, layer.beta):
            variable.assign(numbers(variable) * scales)
        return
    view = linear_view(layer)
    assert view is not None
    matrix = view.to_matrix(numbers(view.kernel))
    by_group = scales.reshape(matrix.shape[0], 1, matrix.shape[2])
    view.kernel.assign(view.from_matrix(matrix * by_group))
    if view.bias is not None:
        view.bias.assign(view.bias_from_matrix(view.bias_to_matrix(numbers(view.bias)) * by_group))


def scale_inputs(layer: Any, scales: Array) -> None:
    """Multiply what a layer makes of each channel that it reads.

    A BatchNormalization takes the inverse into its statistics, as training would; into γ what a
    variance of 0 leaves over, since ε is not scaled.

    Args:
        layer: A BatchNormalization with γ, or a layer of which `reads_channels`.
        scales: A number for each channel.
    """
    if not isinstance(layer, keras.layers.BatchNormalization):
        layer.kernel.assign(numbers(layer.kernel) * scales[:, None])
        return
    variance = numbers(layer.moving_variance) + layer.epsilon
    wanted = variance / np.square(scales)
    reached = np.maximum(wanted, layer.epsilon)
    layer.moving_mean.assign(numbers(layer.moving_mean) / scales)
    layer.moving_variance.assign(reached - layer.epsilon)
    layer.gamma.assign(numbers(layer.gamma) * np.sqrt(reached / wanted))
