"""The activations that are compared, as layers and in networks."""

from __future__ import annotations

from collections.abc import Callable

import keras

import keras_prelu as kp
from tools.bench.records import RELU, STOCK

EXP, IDENTITY = 'keras_prelu.PReLU, "exp"', 'keras_prelu.PReLU, "identity" from 0'


def _stock(dtype: str) -> keras.layers.Layer:
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], dtype=dtype)


LAYERS: dict[str, Callable[[str], keras.layers.Layer]] = {
    RELU: lambda dtype: keras.layers.ReLU(dtype=dtype),
    EXP: lambda dtype: kp.PReLU(0.25, parameterization="exp", dtype=dtype),
    STOCK: _stock,
    IDENTITY: lambda dtype: kp.PReLU(0.0, parameterization="identity", dtype=dtype),
}
"""A layer of a dtype policy for images, by name."""


def _resnet50(size: int, classes: int) -> keras.Model:
    return keras.applications.ResNet50(
        weights=None, input_shape=(size, size, 3), classes=classes, classifier_activation=None
    )


def _small(size: int, classes: int) -> keras.Model:
    """Build two convolutions around a residual connection, for trials."""
    layers = keras.layers
    inputs = keras.Input((size, size, 3))
    x = layers.Activation("relu", name="first")(
        layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same")(inputs))
    )
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.Activation("relu", name="second")(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


NETWORKS: dict[str, Callable[[int, int], keras.Model]] = {
    "ResNet50": _resnet50,
    "a small network": _small,
}


def network(activation: str, name: str, size: int, classes: int, policy: str) -> keras.Model:
    """Return a network with fresh weights, an activation in place of its ReLUs, and logits as its
    outputs."""
    keras.utils.set_random_seed(0)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return _with(activation, NETWORKS[name](size, classes))
    finally:
        keras.config.set_dtype_policy(previous)


def _with(activation: str, model: keras.Model) -> keras.Model:
    if activation == STOCK:
        return keras.models.clone_model(model, clone_function=_cloned)
    if activation == EXP:
        return kp.convert(model, alpha=0.25, parameterization="exp", rescale="none")
    if activation == IDENTITY:
        return kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    return model


def _cloned(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu:
        return keras.layers.PReLU(
            keras.initializers.Constant(0.25), shared_axes=[1, 2], name=layer.name
        )
    return type(layer).from_config(layer.get_config())
