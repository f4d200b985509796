"""The slopes of a model's PReLU layers, summarized."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.layers import PReLU
from keras_prelu.sites.prelu_layers import prelu_layers

__all__ = ["LayerSlopes", "layer_slopes"]


@dataclass(frozen=True)
class LayerSlopes:
    """The slopes in effect of one PReLU layer.

    Attributes:
        path: The layer's path: names of the enclosing models and of the layer, joined by "/".
        count: Number of slopes.
        mean, minimum, maximum: Over them.
    """

    path: str
    count: int
    mean: float
    minimum: float
    maximum: float


def layer_slopes(model: keras.Model) -> tuple[LayerSlopes, ...]:
    """A summary of each `keras_prelu.PReLU` of a model, nested models included, in the model's
    order of layers.

    Example:

    >>> [(layer.path, layer.mean) for layer in keras_prelu.diagnostics.layer_slopes(converted)]
    """
    return tuple(_summarize(path, layer) for path, layer in prelu_layers(model))


def _summarize(path: str, layer: PReLU) -> LayerSlopes:
    values = keras.ops.convert_to_numpy(layer.alpha).astype(np.float64)
    return LayerSlopes(
        path, values.size, float(values.mean()), float(values.min()), float(values.max())
    )
