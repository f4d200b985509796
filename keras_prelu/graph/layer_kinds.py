"""How layers treat channels, according to their class and configuration."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["CHANNELWISE", "built_input_shape", "has_linear_activation", "is_channels_last"]

CHANNELWISE = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Dropout",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "Identity",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
"""Class names of layers that move, select or average the values of each channel, and mix no
channels."""


def has_linear_activation(layer: Any) -> bool:
    """Return whether a layer has no activation of its own, or the linear one."""
    return getattr(layer, "activation", None) in (None, keras.activations.linear)


def is_channels_last(layer: Any) -> bool:
    """Return whether the channels of a layer's tensors are on the last axis.

    Returns True for layers that have no `data_format`.
    """
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def built_input_shape(layer: Any) -> tuple[int | None, ...] | None:
    """Return the shape of the tensor that a layer was built for, batch first.

    Returns None if the shape is not known.
    """
    shape = (layer.get_build_config() or {}).get("input_shape") if layer.built else None
    return tuple(shape) if shape else None
