"""Grouped convolutions of images in a form that tf2onnx converts."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.typing import Tensor

__all__ = ["make_groups_convertible"]


def make_groups_convertible(model: keras.Model) -> None:
    """Let the grouped convolutions of images in a model apply TensorFlow's operation itself.

    On TensorFlow, Keras compiles them with XLA for CPUs, and tf2onnx has no operation for what is
    compiled. The model is to be traced afterwards, not called.

    Args:
        model: `keras.Model`, as `lower_model` returns it. It is changed.
    """
    if keras.backend.backend() != "tensorflow":
        return
    for layer in sublayers(model):
        is_stock = (
            getattr(type(layer), "convolution_op", None) is keras.layers.Conv2D.convolution_op
        )
        if is_stock and isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            layer.convolution_op = partial(_convolve, layer)


def _convolve(layer: Any, inputs: Tensor, kernel: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.nn.convolution(
        inputs,
        kernel,
        strides=list(layer.strides),
        padding=layer.padding.upper(),
        data_format="NCHW" if layer.data_format == "channels_first" else "NHWC",
        dilations=list(layer.dilation_rate),
    )
