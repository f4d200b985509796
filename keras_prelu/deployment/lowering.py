"""Lowering of a converted model to the operations that a runtime runs fastest."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import producer, sublayers
from keras_prelu.conversion.activation_exchange import with_activations
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.custom_layers.converted_layer import exchange_prelus, is_converted
from keras_prelu.data.declarations import declared_input
from keras_prelu.deployment.forms import Activation, Form, general
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.typing import Tensor
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["constants_as_arrays", "half_precision", "in_float32", "lower_model"]


@on_large_graphs
def lower_model(
    model: keras.Model, samples: Any, prune: float = 0.0, form: Form = general
) -> keras.Model:
    """Return a copy of a model whose activations have constant slopes and a form of their own.

    The copy is for export and is not to be saved.

    Args:
        model: `keras.Model`. Any built model, also a subclassed one. It is not changed.
        samples: Array, or a structure of arrays, as the model takes them. The copy is called on
            the first sample, since exporters need a model that has been called.
        prune: Float. As in `bake`. Defaults to 0.
        form: `Form`. Function that applies an activation. Defaults to `general`, one operation
            and one more for a cap.
    """

    def make_layers(layer: PReLU, name: str, _: str) -> list[keras.layers.Layer]:
        function = _applied(form, prune, layer)
        return [_Function(function, name=name, dtype=layer.dtype_policy)]

    copy = (
        with_activations(model, prune, make_layers) if is_taken_apart(model) else copy_model(model)
    )
    for layer in (copy, *sublayers(copy)):
        if is_converted(layer):
            exchange_prelus(layer, partial(_applied, form, prune))
    copy = _called_as_predict_does(copy)
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


def constants_as_arrays(lowered: keras.Model) -> keras.Model:
    """Let the Normalization layers of a lowered model hold NumPy arrays.

    They hold tensors, which are no variables. tf2onnx would make each an input of the file.

    Args:
        lowered: `keras.Model`, as `lower_model` returns it. It is changed.

    Returns:
        The given model.
    """
    for layer in sublayers(lowered):
        if isinstance(layer, keras.layers.Normalization) and layer.mean is not None:
            layer.mean = keras.ops.convert_to_numpy(layer.mean)
            layer.variance = keras.ops.convert_to_numpy(layer.variance)
    return lowered


def _called_as_predict_does(model: keras.Model) -> keras.Model:
    """Return a model whose layers run as in `predict`, also if it is called without `training`.

    Exporters call a model so. Keras's augmentation layers, such as RandomFlip, then augment: the
    default of their `training` is True.
    """
    is_affected = any(map(_trains_by_default, sublayers(model)))
    if not is_affected or not functional.has_graph(model):
        return model
    inputs = keras.tree.map_structure(
        lambda tensor: keras.Input(
            batch_shape=tensor.shape, dtype=tensor.dtype, name=producer(tensor).name
        ),
        declared_input(model),
    )
    return keras.Model(inputs, model(inputs, training=False), name=model.name)


def _trains_by_default(layer: Any) -> bool:
    parameter = inspect.signature(layer.call).parameters.get("training")
    return parameter is not None and parameter.default is True


class _Function(keras.layers.Layer):
    """A function of one tensor as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.function = function

    def call(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


def _applied(form: Form, prune: float, layer: PReLU) -> Callable[[Tensor], Tensor]:
    """Return the function of a layer, with the slopes that it has now."""
    slopes = np.asarray(keras.ops.convert_to_numpy(slopes_in_effect(layer)))
    if np.abs(slopes).max(initial=0.0) <= prune:
        slopes = np.zeros(np.maximum(slopes.shape, 1), slopes.dtype)
    return partial(form, Activation(slopes=slopes, cap=layer.max_value))
