"""Ten kinds of small networks, trained on data that is bundled with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from keras_prelu.data import Samples
from keras_prelu.demo import digits_network
from tools.common.tasks import Split, Task, convolved_rows, digits, images, noisy

L = keras.layers


def tasks() -> Iterator[Task]:
    """Yield all tasks."""
    yield Task(name="digits conv", build=_conv, samples=digits, epochs=16)
    yield Task(name="digits conv + BN", build=digits_network, samples=digits, epochs=16)
    yield Task(name="digits MLP", build=_mlp, samples=digits, epochs=30)
    yield Task(name="digits MLP, 6 units wide", build=_narrow, samples=digits, epochs=60)
    yield Task(name="pre-activation residual", build=_pre_activation, samples=digits, epochs=16)
    yield Task(name="inverted residual, ReLU6", build=_inverted, samples=digits, epochs=20)
    yield Task(name="rows as a sequence, Conv1D", build=_sequence, samples=digits, epochs=20)
    yield Task(
        name="autoencoder, transposed",
        build=_autoencoder,
        samples=images,
        epochs=40,
        loss="mse",
    )
    yield Task(name="denoising, separable", build=_denoising, samples=_noisy, epochs=30, loss="mse")
    yield Task(
        name="diabetes regression", build=_regression, samples=_diabetes, epochs=60, loss="mse"
    )


def _noisy(seed: int) -> Split:
    """Return the same noise for each seed."""
    return noisy(0)


def _diabetes(seed: int) -> Split:
    """Return the same order for each seed."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x = (x / x.std(axis=0)).astype("float32")
    y = ((y - y.mean()) / y.std()).astype("float32")[:, None]
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:340], order[340:]
    return Split(train=Samples(x[train], y[train]), test=Samples(x[test], y[test]))


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
    return keras.Sequential([*convolved_rows(48), L.Flatten(), L.Dense(32, "relu"), L.Dense(10)])


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
