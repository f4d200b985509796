"""Small networks of many kinds, trained on data that is bundled with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.demo import digits_network

L = keras.layers


@dataclass(frozen=True)
class Task:
    """A network to be trained, and on what.

    Attributes:
        name: What it is called in tables.
        build: Makes the network.
        samples: Training and test samples with their targets.
        loss: Keras loss.
        epochs: Of its training.
        classifies: Whether its outputs are logits of classes.
    """

    name: str
    build: Callable[[], keras.Model]
    samples: Callable[[], tuple[data.Samples, data.Samples]]
    loss: Any
    epochs: int
    classifies: bool


def tasks() -> Iterator[Task]:
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    yield Task("digits conv", _conv, _digits, crossentropy, 16, True)
    yield Task("digits conv + BN", digits_network, _digits, crossentropy, 16, True)
    yield Task("digits MLP", _mlp, _digits, crossentropy, 30, True)
    yield Task("digits MLP, 6 units wide", _narrow, _digits, crossentropy, 60, True)
    yield Task("pre-activation residual", _pre_activation, _digits, crossentropy, 16, True)
    yield Task("inverted residual, ReLU6", _inverted, _digits, crossentropy, 20, True)
    yield Task("rows as a sequence, Conv1D", _sequence, _digits, crossentropy, 20, True)
    yield Task("autoencoder, transposed", _autoencoder, _images, "mse", 40, False)
    yield Task("denoising, separable", _denoising, _noisy, "mse", 30, False)
    yield Task("diabetes regression", _regression, _diabetes, "mse", 60, False)


def trained(task: Task, seed: int) -> keras.Model:
    """The task's network after its training."""
    keras.utils.set_random_seed(seed)
    model = task.build()
    train, _ = task.samples()
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, task.epochs * -(-len(train) // 64))
    model.compile(keras.optimizers.Adam(schedule), task.loss)
    model.fit(train.x, train.y, batch_size=64, epochs=task.epochs, verbose=0)
    return model


def _digits() -> tuple[data.Samples, data.Samples]:
    digits = data.load("digits")
    assert digits.test is not None
    return digits.train, digits.test


def _images() -> tuple[data.Samples, data.Samples]:
    train, test = _digits()
    return data.Samples(train.x, train.x), data.Samples(test.x, test.x)


def _noisy() -> tuple[data.Samples, data.Samples]:
    rng = np.random.default_rng(0)
    train, test = _digits()
    return tuple(
        data.Samples(part.x + rng.normal(0, 0.3, part.x.shape).astype("float32"), part.x)
        for part in (train, test)
    )  # type: ignore[return-value]


def _diabetes() -> tuple[data.Samples, data.Samples]:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x, y = (
        (x / x.std(axis=0)).astype("float32"),
        ((y - y.mean()) / y.std()).astype("float32")[:, None],
    )
    order = np.random.default_rng(0).permutation(len(x))
    return data.Samples(x[order[:340]], y[order[:340]]), data.Samples(
        x[order[340:]], y[order[340:]]
    )


def _conv() -> keras.Model:
    layers = [
        L.Conv2D(filters, 3, padding="same", activation="relu") for filters in (32, 32, 64, 64)
    ]
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *layers[:2],
            L.MaxPooling2D(),
            *layers[2:],
            L.GlobalAveragePooling2D(),
            L.Dense(10),
        ]
    )


def _mlp() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Flatten(),
            *(L.Dense(128, "relu") for _ in range(4)),
            L.Dense(10),
        ]
    )


def _narrow() -> keras.Model:
    return keras.Sequential(
        [keras.Input((8, 8, 1)), L.Flatten(), *(L.Dense(6, "relu") for _ in range(4)), L.Dense(10)]
    )


def _pre_activation() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(32, 3, padding="same")(inputs)
    for _ in range(4):
        y = L.Conv2D(32, 3, padding="same", use_bias=False)(
            L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
        )
        y = L.Conv2D(32, 3, padding="same")(L.ReLU()(L.BatchNormalization(momentum=0.9)(y)))
        x = L.Add()([x, y])
    x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def _inverted() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = L.ReLU(6.0)(
        L.BatchNormalization(momentum=0.9)(L.Conv2D(16, 3, padding="same", use_bias=False)(inputs))
    )
    for _ in range(3):
        y = L.ReLU(6.0)(L.BatchNormalization(momentum=0.9)(L.Conv2D(64, 1, use_bias=False)(x)))
        y = L.ReLU(6.0)(
            L.BatchNormalization(momentum=0.9)(
                L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
            )
        )
        x = L.Add()([x, L.BatchNormalization(momentum=0.9)(L.Conv2D(16, 1, use_bias=False)(y))])
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def _sequence() -> keras.Model:
    layers = [
        L.Conv1D(48, 3, padding="causal", dilation_rate=rate, activation="relu")
        for rate in (1, 2, 4)
    ]
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Reshape((8, 8)),
            *layers,
            L.Flatten(),
            L.Dense(32, "relu"),
            L.Dense(10),
        ]
    )


def _autoencoder() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            L.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            L.Flatten(),
            L.Dense(24, "relu"),
            L.Dense(128, "relu"),
            L.Reshape((2, 2, 32)),
            L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
            L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
            L.Conv2DTranspose(1, 3, padding="same"),
        ]
    )


def _denoising() -> keras.Model:
    layers = [L.SeparableConv2D(32, 3, padding="same", activation="relu") for _ in range(3)]
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(16, 3, padding="same", activation="relu"),
            *layers,
            L.Conv2D(1, 3, padding="same"),
        ]
    )


def _regression() -> keras.Model:
    return keras.Sequential(
        [keras.Input((10,)), L.Dense(64, "relu"), L.Dense(64, "relu"), L.Dense(1)]
    )
