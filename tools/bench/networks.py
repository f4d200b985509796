"""Networks whose train steps are measured: each a function of the activation, and a batch for
it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from tools.bench.activations import Activation


@dataclass(frozen=True)
class Network:
    """A network and its batch: `body(inputs, activation)` gives the features before the
    classifier."""

    name: str
    input_shape: tuple[int, ...]
    batch: int
    body: Callable[[keras.KerasTensor, Activation], keras.KerasTensor]

    def build(
        self, activation: Activation, dtype: str = "float32", **compile_options: object
    ) -> keras.Model:
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(dtype)
        try:
            inputs = keras.Input(self.input_shape)
            logits = layers.Dense(10, dtype="float32")(
                layers.Flatten()(self.body(inputs, activation))
            )
            model = keras.Model(inputs, logits)
        finally:
            keras.config.set_dtype_policy("float32")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(1e-3), loss, **compile_options)
        return model

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        return rng.normal(size=(self.batch, *self.input_shape)).astype("float32"), rng.integers(
            0, 10, self.batch
        )


def _convolutions(x, activation, normalize):
    for stage, width in enumerate((32, 64, 128)):
        if stage:
            x = layers.MaxPooling2D(2)(x)
        for _ in range(3):
            x = layers.Conv2D(width, 3, padding="same", use_bias=not normalize)(x)
            if normalize:
                x = layers.BatchNormalization()(x)
            x = activation(4)(x)
    return x


def _depthwise(x, activation):
    x = activation(4)(
        layers.BatchNormalization()(
            layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(x)
        )
    )
    for width, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        x = activation(4)(layers.BatchNormalization()(x))
        x = activation(4)(layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(x)))
    return layers.GlobalAveragePooling2D()(x)


def _dense(x, activation):
    for _ in range(6):
        x = activation(2)(layers.Dense(1024)(x))
    return x


def _sequence(x, activation):
    for dilation in (1, 2, 4, 8):
        residual = x
        x = activation(3)(layers.Conv1D(128, 3, padding="causal", dilation_rate=dilation)(x))
        x = activation(3)(layers.Conv1D(128, 3, padding="causal", dilation_rate=dilation)(x))
        x = x if residual.shape[-1] != x.shape[-1] else layers.Add()([x, residual])
    return layers.GlobalAveragePooling1D()(x)


PLAIN = Network(
    "9 convolutions", (32, 32, 3), 256, lambda x, a: _convolutions(x, a, normalize=False)
)
NORMALIZED = Network(
    "9 convolutions + BatchNormalization",
    (32, 32, 3),
    256,
    lambda x, a: _convolutions(x, a, normalize=True),
)
DEPTHWISE = Network("depthwise (MobileNet-like)", (64, 64, 3), 64, _depthwise)
DENSE = Network("MLP, 6 x 1024", (256,), 512, _dense)
SEQUENCE = Network("sequence (dilated convolutions)", (256, 16), 64, _sequence)
NETWORKS = (PLAIN, NORMALIZED, DEPTHWISE, DENSE, SEQUENCE)
