"""Small tasks of many kinds on data that is bundled with scikit-learn: where PReLU may help, and
where it should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.data import Samples

L = keras.layers
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Task:
    """A network to be trained and fine-tuned, and on what.

    Attributes:
        name: What it is called in tables.
        build: Makes the network.
        samples: Training and test samples with their targets, by seed.
        loss: Keras loss.
        epochs: Of the first training; fine-tuning takes half of them.
    """

    name: str
    build: Callable[[], keras.Model]
    samples: Callable[[int], tuple[Samples, Samples]]
    loss: Any
    epochs: int


def tasks() -> Iterator[Task]:
    yield Task("digits, MLP 4 × 6 units", lambda: _mlp(4, 6), _digits, CROSSENTROPY, 40)
    yield Task("digits, plain MLP of 20 layers", lambda: _mlp(20, 16), _digits, CROSSENTROPY, 30)
    yield Task(
        "digits, plain convolutions, 20 layers", _deep_convolutions, _digits, CROSSENTROPY, 12
    )
    yield Task("digits, small conv + BN", _normalized, _digits, CROSSENTROPY, 12)
    yield Task("digits, small conv", _convolutions, _digits, CROSSENTROPY, 16)
    yield Task("digits, residual", _residual, _digits, CROSSENTROPY, 10)
    yield Task("rows as a sequence, Conv1D", _sequence, _digits, CROSSENTROPY, 20)
    yield Task("wine, MLP 2 × 8 units", lambda: _mlp(2, 8, 13, 3), _wine, CROSSENTROPY, 60)
    yield Task(
        "breast cancer, MLP 3 × 8 units", lambda: _mlp(3, 8, 30, 2), _cancer, CROSSENTROPY, 40
    )
    yield Task("denoising, 8 channels, dead units", _denoiser, _noisy, "mse", 24)
    yield Task("autoencoder on digits", _autoencoder, _images, "mse", 30)
    yield Task("super-resolution", _super_resolution, _small, "mse", 24)
    yield Task("diabetes regression", lambda: _mlp(3, 32, 10, 1), _diabetes, "mse", 60)
    yield Task("embedding head, rotations", _rotation_network, _rotations, CROSSENTROPY, 10)


def trained(task: Task, seed: int) -> keras.Model:
    """The task's ReLU network after its first training."""
    keras.utils.set_random_seed(seed)
    model = task.build()
    train, _ = task.samples(seed)
    if task.name.startswith("denoising"):
        _kill(model, 0.3, seed)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, task.epochs * -(-len(train) // 64))
    model.compile(keras.optimizers.Adam(schedule), task.loss)
    model.fit(train.x, train.y, batch_size=64, epochs=task.epochs, verbose=0)
    return model


def _kill(model: keras.Model, share: float, seed: int) -> None:
    """Start some units dead, as a first step that was too large leaves them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if getattr(layer, "activation", None) is keras.activations.relu:
            dead = rng.random(layer.bias.shape[0]) < share
            layer.bias.assign(np.where(dead, -3.0, 0.0))


def _digits(seed: int) -> tuple[Samples, Samples]:
    digits = data.load("digits")
    assert digits.test is not None
    return digits.train, digits.test


def _images(seed: int) -> tuple[Samples, Samples]:
    return tuple(Samples(part.x, part.x) for part in _digits(seed))  # type: ignore[return-value]


def _noisy(seed: int) -> tuple[Samples, Samples]:
    rng = np.random.default_rng(seed)
    return tuple(
        Samples(part.x + rng.normal(0, 0.3, part.x.shape).astype("float32"), part.x)
        for part in _digits(seed)
    )  # type: ignore[return-value]


def _small(seed: int) -> tuple[Samples, Samples]:
    return tuple(
        Samples(part.x.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4)), part.x)
        for part in _digits(seed)
    )  # type: ignore[return-value]


def _rotations(seed: int) -> tuple[Samples, Samples]:
    """Which quarter turn an image was given: labels that need no people."""
    rng = np.random.default_rng(seed)
    parts = []
    for part in _digits(seed):
        turns = rng.integers(0, 4, len(part))
        parts.append(
            Samples(np.stack([np.rot90(x, k) for x, k in zip(part.x, turns, strict=True)]), turns)
        )
    return parts[0], parts[1]


def _table(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Samples, Samples]:
    order = np.random.default_rng(seed).permutation(len(x))
    cut = round(0.7 * len(x))
    mean, deviation = x[order[:cut]].mean(axis=0), x[order[:cut]].std(axis=0)
    x = ((x - mean) / deviation).astype("float32")
    return Samples(x[order[:cut]], y[order[:cut]]), Samples(x[order[cut:]], y[order[cut:]])


def _wine(seed: int) -> tuple[Samples, Samples]:
    from sklearn.datasets import load_wine

    return _table(*load_wine(return_X_y=True), seed)


def _cancer(seed: int) -> tuple[Samples, Samples]:
    from sklearn.datasets import load_breast_cancer

    return _table(*load_breast_cancer(return_X_y=True), seed)


def _diabetes(seed: int) -> tuple[Samples, Samples]:
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
    layers = [
        L.Conv1D(12, 3, padding="causal", dilation_rate=rate, activation="relu")
        for rate in (1, 2, 4)
    ]
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Reshape((8, 8)),
            *layers,
            L.GlobalAveragePooling1D(),
            L.Dense(10),
        ]
    )


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
