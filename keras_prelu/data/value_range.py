"""Whether the values of images fit what the first layers of a model do with them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import Functional, nodes_in_order, sublayers
from keras_prelu.data.declarations import declares_inputs
from keras_prelu.data.lazy import is_lazy
from keras_prelu.utils.user_warnings import warn

__all__ = ["range_misfit", "warn_of_range"]

_SAMPLES = 256
"""The number of samples, counted from the first, whose range is looked at."""
_LARGEST = 16.0
"""The size up to which values at the first layer with weights do not stand out."""
_NARROWEST = 0.05
"""The difference of the largest and smallest value there that does not stand out."""
_NEUTRAL = (
    "CenterCrop",
    "Dropout",
    "Identity",
    "InputLayer",
    "Permute",
    "Reshape",
    "Resizing",
    "ZeroPadding2D",
)


_TOLD: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
"""The warnings that were given for each model."""


def warn_of_range(model: keras.Model, x: Any) -> None:
    """Warn once if the values of images do not fit the first layers of a model.

    Args:
        model: Keras model.
        x: Array, or structure of arrays, that fits the model.
    """
    misfit, told = range_misfit(model, x), _TOLD.setdefault(model, set())
    if misfit and misfit not in told:
        told.add(misfit)
        warn(misfit)


def range_misfit(model: keras.Model, x: Any) -> str:
    """Return in a sentence how the values of images misfit a model's first layers, or "".

    Nothing is said of samples that are no images, and of models whose first layers can't be
    followed.

    Args:
        model: Keras model.
        x: Array, or structure of arrays, that fits the model.
    """
    arrays = keras.tree.flatten(x)
    if len(arrays) != 1 or len(arrays[0].shape) != 4 or arrays[0].shape[-1] not in (1, 3, 4):
        return ""
    layers = _leading_layers(model)
    if layers is None:
        return ""
    images = np.asarray(arrays[0][:_SAMPLES] if not is_lazy(arrays[0]) else arrays[0][:32])
    if images.dtype.kind not in "biuf" or not images.size:
        return ""
    low, high = float(images.min()), float(images.max())
    if low == high:
        return ""
    reached = f"The values of the samples reach from {low:g} to {high:g}"
    if not layers:
        if low < 0 or high <= _LARGEST:
            return ""
        return (
            f"{reached}, and no first layer of model '{model.name}' scales them. If it was trained"
            " on scaled pixels, scale these alike (on the command line --scale 1/255)."
        )
    lowest, highest = _through(layers, low), _through(layers, high)
    transformed = np.concatenate([lowest, highest])
    names = ", ".join(f"'{layer.name}'" for layer in layers)
    found = f"{transformed.min():.2g} to {transformed.max():.2g}"
    if np.abs(highest - lowest).max() < _NARROWEST and high <= _LARGEST:
        return (
            f"{reached}, and layer {names} of model '{model.name}' scales them to {found}: they"
            " seem to be scaled twice. Give unscaled pixels, from 0 to 255 (on the command line"
            " without --scale, or with --scale 1)."
        )
    if np.abs(transformed).max() > _LARGEST:
        return (
            f"{reached}, and layer {names} of model '{model.name}' scales them only to {found}."
            " Scale the samples as for the model's training."
        )
    return ""


def _leading_layers(model: keras.Model) -> list[Any] | None:
    """Return the layers before the first one with weights that scale their inputs.

    Returns None if they can't be followed.
    """
    if not declares_inputs(model):
        found = [layer for layer in sublayers(model) if isinstance(layer, keras.layers.Rescaling)]
        return found if len(found) == 1 else None
    scaling: list[Any] = []
    for layer in _operations(model):
        if isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)):
            scaling.append(layer)
        elif getattr(layer, "kernel", None) is not None:
            return scaling
        elif type(layer).__name__ not in _NEUTRAL and not type(layer).__name__.startswith("Random"):
            return None
    return None


def _operations(model: Any) -> Iterator[Any]:
    """Yield the layers and ops of a model in execution order, with those of nested models."""
    is_sequential = isinstance(model, keras.Sequential)
    operations = (
        model.layers if is_sequential else [node.operation for node in nodes_in_order(model)]
    )
    for operation in operations:
        is_nested = isinstance(operation, Functional) or (
            isinstance(operation, keras.Sequential) and declares_inputs(operation)
        )
        if is_nested:
            yield from _operations(operation)
        else:
            yield operation


def _through(layers: list[Any], value: float) -> np.ndarray:
    """Return what scaling layers make of a value, for each channel."""
    values = np.array([value])
    for layer in layers:
        if isinstance(layer, keras.layers.Rescaling):
            values = values * np.ravel(layer.scale) + np.ravel(layer.offset)
            continue
        mean, variance = (
            np.ravel(keras.ops.convert_to_numpy(part)).astype(np.float64)
            for part in (layer.mean, layer.variance)
        )
        deviation = np.maximum(np.sqrt(variance), 1e-7)
        values = values * deviation + mean if layer.invert else (values - mean) / deviation
    return values
