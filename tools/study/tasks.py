"""Fourteen small tasks of many kinds on data that is bundled with scikit-learn: where PReLU may
help, and where it should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.tasks import Split, Task, convolved_rows, digits, images, noisy

L = keras.layers


def tasks() -> Iterator[Task]:
    """Yield all tasks. Fine-tuning takes half of a task's epochs."""
    yield _digits("digits, MLP 4 × 6 units", lambda: _mlp(4, 6), 40)
    yield _digits("digits, plain MLP of 20 layers", lambda: _mlp(20, 16), 30)
    yield _digits("digits, plain convolutions, 20 layers", _deep_convolutions, 12)
    yield _digits("digits, small conv + BN", _normalized, 12)
    yield _digits("digits, small conv", _convolutions, 16)
    yield _digits("digits, residual", _residual, 10)
    yield _digits("rows as a sequence, Conv1D", _sequence, 20)
    yield Task(
        name="wine, MLP 2 × 8 units", build=lambda: _mlp(2, 8, 13, 3), samples=_wine, epochs=60
    )
    yield Task(
        name="breast cancer, MLP 3 × 8 units",
        build=lambda: _mlp(3, 8, 30, 2),
        samples=_cancer,
        epochs=40,
    )
    yield Task(
        name="denoising, 8 channels, dead units",
        build=_denoiser,
        samples=noisy,
        epochs=24,
        loss="mse",
        prepare=_kill,
    )
    yield Task(
        name="autoencoder on digits", build=_autoencoder, samples=images, epochs=30, loss="mse"
    )
    yield Task(
        name="super-resolution", build=_super_resolution, samples=_small, epochs=24, loss="mse"
    )
    yield Task(
        name="diabetes regression",
        build=lambda: _mlp(3, 32, 10, 1),
        samples=_diabetes,
        epochs=60,
        loss="mse",
    )
    yield Task(
        name="embedding head, rotations", build=_rotation_network, samples=_rotations, epochs=10
    )


def _digits(name: str, build: Callable[[], keras.Model], epochs: int) -> Task:
    return Task(name=name, build=build, samples=digits, epochs=epochs)


def _kill(model: keras.Model, seed: int) -> None:
    """Start three units in ten dead, as a first step that was too large leaves them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if getattr(layer, "activation", None) is keras.activations.relu:
            dead = rng.random(layer.bias.shape[0]) < 0.3
            layer.bias.assign(np.where(dead, -3.0, 0.0))


def _small(seed: int) -> Split:
    """Return images of half the size, and the images as targets."""
    split = images()
    return Split(train=_halved(split.train), test=_halved(split.test))


def _halved(samples: Samples) -> Samples:
    return Samples(samples.x.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4)), samples.y)


def _rotations(seed: int) -> Split:
    """Return turned images and by which quarter they were turned: labels that need no people."""
    rng, split = np.random.default_rng(seed), digits()
    return Split(train=_turned(split.train, rng), test=_turned(split.test, rng))


def _turned(samples: Samples, rng: np.random.Generator) -> Samples:
    turns = rng.integers(0, 4, len(samples))
    turned = [np.rot90(x, k) for x, k in zip(samples.x, turns, strict=True)]
    return Samples(np.stack(turned), turns)


def _table(x: np.ndarray, y: np.ndarray, seed: int) -> Split:
    """Return standardized columns, seven in ten rows for training."""
    order = np.random.default_rng(seed).permutation(len(x))
    cut = round(0.7 * len(x))
    train, test = order[:cut], order[cut:]
    x = ((x - x[train].mean(axis=0)) / x[train].std(axis=0)).astype("float32")
    return Split(train=Samples(x[train], y[train]), test=Samples(x[test], y[test]))


def _wine(seed: int) -> Split:
    from sklearn.datasets import load_wine

    return _table(*load_wine(return_X_y=True), seed)


def _cancer(seed: int) -> Split:
    from sklearn.datasets import load_breast_cancer

    return _table(*load_breast_cancer(return_X_y=True), seed)


def _diabetes(seed: int) -> Split:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    return _table(x, ((y - y.mean()) / y.std()).astype("float32")[:, None], seed)


def _mlp(depth: int, width: int, inputs: int = 0, outputs: int = 10) -> keras.Model:
    start = [keras.Input((inputs,))] if inputs else [keras.Input((8, 8, 1)), L.Flatten()]
    hidden = [L.Dense(width, "relu", kernel_initializer="he_normal") for _ in range(depth)]
    return keras.Sequential([*start, *hidden, L.Dense(outputs)])


def _conv(filters: int, **options: Any) -> keras.layers.Layer:
    return L.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", **options)


def _deep_convolutions() -> keras.Model:
    layers = [_conv(12, activation="relu") for _ in range(20)]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, L.GlobalAveragePooling2D(), L.Dense(10)]
    )


def _convolutions() -> keras.Model:
    layers = [_conv(filters, activation="relu") for filters in (8, 8, 16)]
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            *layers[:2],
            L.MaxPooling2D(),
            layers[2],
            L.GlobalAveragePooling2D(),
            L.Dense(10),
        ]
    )


def _normalized() -> keras.Model:
    layers: list[keras.layers.Layer] = []
    for filters in (8, 8, 16):
        layers += [_conv(filters, use_bias=False), L.BatchNormalization(momentum=0.9), L.ReLU()]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, L.GlobalAveragePooling2D(), L.Dense(10)]
    )


def _residual() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = _conv(12, activation="relu")(inputs)
    for _ in range(3):
        x = L.ReLU()(L.Add()([x, _conv(12)(_conv(12, activation="relu")(x))]))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def _sequence() -> keras.Model:
    return keras.Sequential([*convolved_rows(12), L.GlobalAveragePooling1D(), L.Dense(10)])


def _denoiser() -> keras.Model:
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *(_conv(8, activation="relu") for _ in range(4)), _conv(1)]
    )


def _autoencoder() -> keras.Model:
    layers = [L.Dense(width, "relu", kernel_initializer="he_normal") for width in (48, 12, 48)]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), L.Flatten(), *layers, L.Dense(64), L.Reshape((8, 8, 1))]
    )


def _super_resolution() -> keras.Model:
    layers = [_conv(filters, activation="relu") for filters in (16, 6, 6, 16)]
    return keras.Sequential(
        [keras.Input((4, 4, 1)), *layers, L.Conv2DTranspose(1, 3, strides=2, padding="same")]
    )


def _rotation_network() -> keras.Model:
    layers = [_conv(filters, activation="relu") for filters in (8, 16)]
    head = [L.Dense(16, "relu"), L.Dense(16, "relu"), L.Dense(4)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, L.GlobalAveragePooling2D(), *head])
