"""The networks that go on learning. All take flat inputs."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["convolutions", "mlp", "normalized", "regressor", "residual"]

L = keras.layers


def mlp() -> keras.Model:
    return _mlp(64, 10)


def regressor() -> keras.Model:
    return _mlp(16, 1)


def convolutions() -> keras.Model:
    layers = [
        *_convolution(8),
        L.ReLU(),
        *_convolution(16, 2),
        L.ReLU(),
        *_convolution(16),
        L.ReLU(),
    ]
    return _of_images([*layers, L.Flatten(), L.Dense(64, "relu", kernel_initializer="he_normal")])


def normalized() -> keras.Model:
    """Convolutions with BatchNormalization."""
    layers: list[Any] = []
    for filters, strides in ((8, 1), (16, 2), (16, 1)):
        layers += [
            *_convolution(filters, strides, use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
        ]
    dense = L.Dense(64, use_bias=False, kernel_initializer="he_normal")
    return _of_images([*layers, L.Flatten(), dense, L.BatchNormalization(), L.ReLU()])


def residual() -> keras.Model:
    inputs = keras.Input((64,))
    stream = L.Reshape((8, 8, 1))(inputs)
    for layer in (*_convolution(12, 2), L.ReLU()):
        stream = layer(stream)
    for _ in range(3):
        branch = stream
        for layer in (*_convolution(12), L.ReLU(), *_convolution(12)):
            branch = layer(branch)
        stream = L.ReLU()(L.Add()([stream, branch]))
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(stream)))


def _mlp(inputs: int, outputs: int) -> keras.Model:
    hidden = [L.Dense(100, "relu", kernel_initializer="he_normal") for _ in range(3)]
    return keras.Sequential([keras.Input((inputs,)), *hidden, L.Dense(outputs)])


def _convolution(filters: int, strides: int = 1, use_bias: bool = True) -> list[Any]:
    return [
        L.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            use_bias=use_bias,
            kernel_initializer="he_normal",
        )
    ]


def _of_images(layers: list[Any]) -> keras.Model:
    return keras.Sequential([keras.Input((64,)), L.Reshape((8, 8, 1)), *layers, L.Dense(10)])
