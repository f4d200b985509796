"""Lowering of a converted model to the form that converters of runtimes recognize best.

Each activation is one operation, and a cap is one more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.bake import with_stock_activations
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.custom_layers.converted_layer import exchange_prelus, is_converted
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.typing import Tensor
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["half_precision", "in_float32", "lower_model"]


@on_large_graphs
def lower_model(model: keras.Model, samples: Any, prune: float = 0.0) -> keras.Model:
    """Return a copy of a model with activations that converters recognize.

    The copy is for export and is not to be saved. In the graph, activations become stock layers, as
    `bake` writes them; inside layers with Python code of their own, they become the PReLU's
    formula, with constant slopes.

    Args:
        model: `keras.Model`. Any built model, also a subclassed one. It is not changed.
        samples: Array, or a structure of arrays, as the model takes them. The copy is called on
            the first sample, since exporters need a model that has been called.
        prune: Float. As in `bake`. Defaults to 0.
    """
    copy = (
        with_stock_activations(model, prune, _cap_layers)
        if is_taken_apart(model)
        else copy_model(model)
    )
    for layer in (copy, *sublayers(copy)):
        if is_converted(layer):
            exchange_prelus(layer, partial(_formula, prune))
    copy(keras.tree.map_structure(lambda array: array[:1], samples))
    return copy


def half_precision(model: keras.Model) -> list[str]:
    """Return the dtypes of half precision in which layers of a model compute."""
    dtypes = {layer.compute_dtype for layer in sublayers(model)}
    return sorted(dtypes & {"float16", "bfloat16"})


def in_float32(lowered: keras.Model, samples: Any) -> keras.Model:
    """Make the layers of a lowered model that compute in half precision compute in float32.

    Runtimes other than Keras's backends round differently in half precision, or lack operations.

    Args:
        lowered: `keras.Model`, as `lower_model` returns it. It is changed.
        samples: Array, or a structure of arrays, as in `lower_model`.

    Returns:
        The given model.
    """
    if half_precision(lowered):
        for layer in (lowered, *sublayers(lowered)):
            if layer.compute_dtype in ("float16", "bfloat16"):
                layer.dtype_policy = keras.DTypePolicy("float32")
        lowered(keras.tree.map_structure(lambda array: array[:1], samples))
    return lowered


def _cap_layers(stock: keras.layers.Layer, cap: float, name: str) -> list[keras.layers.Layer]:
    """Return the layers that apply a stock activation and cap its outputs."""
    if isinstance(stock, keras.layers.ReLU):
        return [keras.layers.ReLU(max_value=cap, name=stock.name, dtype=stock.dtype_policy)]
    return [stock, _Cap(cap, name=name, dtype=stock.dtype_policy)]


class _Cap(keras.layers.Layer):
    """The minimum of each element and a number, as one operation.

    A stock ReLU of slope 1 becomes four.
    """

    def __init__(self, cap: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cap = cap

    def call(self, inputs: Tensor) -> Tensor:
        return keras.ops.minimum(inputs, keras.ops.cast(self.cap, inputs.dtype))


def _formula(prune: float, layer: PReLU) -> Callable[[Tensor], Tensor]:
    """Return the formula of `keras.layers.PReLU`, by which converters recognize a PReLU."""
    slopes = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)))

    def activation(inputs: Tensor) -> Tensor:
        if np.abs(slopes).max() <= prune:
            outputs = keras.ops.relu(inputs)
        elif np.all(slopes == slopes.flat[0]) and slopes.flat[0] > 0:
            outputs = keras.ops.leaky_relu(inputs, float(slopes.flat[0]))
        else:
            negative = keras.ops.relu(-inputs)
            outputs = keras.ops.relu(inputs) + keras.ops.cast(-slopes, inputs.dtype) * negative
        if layer.max_value is None:
            return outputs
        return keras.ops.minimum(outputs, keras.ops.cast(layer.max_value, inputs.dtype))

    return activation
