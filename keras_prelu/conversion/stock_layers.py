"""The stock Keras layers that compute what a PReLU layer does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["StockLayers"]


class StockLayers:
    """Makes stock layers that compute what PReLU layers do.

    Args:
        prune: Float. As in `bake`.
    """

    def __init__(self, prune: float) -> None:
        self._prune = prune
        self._slopes: list[tuple[keras.layers.PReLU, np.ndarray]] = []

    def make(self, layer: PReLU, name: str, cap_name: str) -> list[keras.layers.Layer]:
        """Return the layers, as an `ActivationFactory` does."""
        slopes = to_float64(slopes_in_effect(layer))
        stock = _simplest_stock_layer(layer, slopes, self._prune, name)
        if isinstance(stock, keras.layers.PReLU):
            self._slopes.append((stock, slopes))
        return [stock] if layer.max_value is None else _capped(stock, layer.max_value, cap_name)

    def assign_slopes(self) -> None:
        """Assign the slopes, once the layers are built."""
        for stock, slopes in self._slopes:
            stock.alpha.assign(slopes.reshape(stock.alpha.shape))


def _simplest_stock_layer(
    layer: PReLU, slopes: np.ndarray, prune: float, name: str
) -> keras.layers.Layer:
    """Return the simplest stock layer with the slopes of a layer.

    A PReLU is returned without its slopes, which are assigned once it is built.
    """
    common: dict[str, Any] = {"name": name, "dtype": layer.dtype_policy}
    if np.abs(slopes).max(initial=0.0) <= prune:
        return keras.layers.ReLU(**common)
    first = float(slopes.flat[0])
    if np.all(slopes == first) and first == 1.0:
        if layer.activity_regularizer is not None:  # The configuration of an Identity has none.
            return keras.layers.Activation("linear", **common)
        # That configuration can't hold a policy object either.
        return keras.layers.Identity(name=name, dtype=layer.dtype_policy.name)
    # TensorFlow's leaky ReLU has its slope in float32.
    is_exact = layer.compute_dtype != "float64" or float(np.float32(first)) == first
    if np.all(slopes == first) and first > 0 and is_exact:
        return keras.layers.LeakyReLU(negative_slope=first, **common)
    shared_axes = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1]
    return keras.layers.PReLU(shared_axes=shared_axes, **common)


def _capped(stock: keras.layers.Layer, cap: float, name: str) -> list[keras.layers.Layer]:
    """Return stock layers with a cap: a capped ReLU, or a PReLU and a capped ReLU with slope 1."""
    if isinstance(stock, keras.layers.PReLU):
        return [stock, _capped_relu(cap, slope=1.0, name=name, dtype=stock.dtype_policy)]
    if isinstance(stock, keras.layers.LeakyReLU):
        slope = stock.negative_slope
    else:
        slope = 0.0 if isinstance(stock, keras.layers.ReLU) else 1.0
    return [_capped_relu(cap, slope=slope, name=stock.name, dtype=stock.dtype_policy)]


def _capped_relu(cap: float, *, slope: float, name: str, dtype: Any) -> keras.layers.ReLU:
    return keras.layers.ReLU(max_value=cap, negative_slope=slope, name=name, dtype=dtype)
