"""Summaries of the slopes of a model's PReLU layers."""

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
        path: String. The names of the enclosing models and of the layer, joined by "/".
        count: Integer. The number of slopes.
        mean: Float. The mean slope.
        minimum: Float. The smallest slope.
        maximum: Float. The largest slope.
        quartiles: Tuple of three floats. A quarter, half and three quarters of the slopes are below
            these.
    """

    path: str
    count: int
    mean: float
    minimum: float
    maximum: float
    quartiles: tuple[float, float, float]


def layer_slopes(model: keras.Model) -> tuple[LayerSlopes, ...]:
    """Return a summary of the slopes of each `keras_prelu.PReLU` layer of a model.

    Args:
        model: Any Keras model. Nested models are included.

    Returns:
        A tuple of `LayerSlopes`, one for each layer, in the order of the model's layers.

    Example:

    >>> [(layer.path, layer.mean) for layer in keras_prelu.diagnostics.layer_slopes(converted)]
    """
    return tuple(_summarize(path, layer) for path, layer in prelu_layers(model))


def _summarize(path: str, layer: PReLU) -> LayerSlopes:
    slopes: np.ndarray = keras.ops.convert_to_numpy(layer.alpha).astype(np.float64)
    return LayerSlopes(
        path=path,
        count=slopes.size,
        mean=float(slopes.mean()),
        minimum=float(slopes.min()),
        maximum=float(slopes.max()),
        quartiles=tuple(np.quantile(slopes, [0.25, 0.5, 0.75]).tolist()),
    )
