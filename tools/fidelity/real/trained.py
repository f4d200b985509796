"""Networks that are trained here, once, and kept beside the packages."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.packages import Packages
from tools.common.tasks import CROSSENTROPY
from tools.fidelity.real.data import clothes, emoji, handwritten_digits
from tools.fidelity.real.efficientnet_lite import backbone

__all__ = ["emoji_classifier", "plain", "plain_on_digits", "residual", "stored"]

L = keras.layers

_BATCH = 128


def stored(packages: Packages, name: str, train: Callable[[], keras.Model]) -> keras.Model:
    """Return a network, which is trained if its file is not there."""
    path = packages.root / "trained" / f"{name}.keras"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = train()
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            model.save(Path(scratch) / path.name)
            os.replace(Path(scratch) / path.name, path)
    return keras.models.load_model(path, compile=False)


def emoji_classifier(packages: Packages) -> keras.Model:
    """Return EfficientNet-Lite0 with the logits of ten categories: a linear layer that is trained on
    the features of drawings of 64 × 64 pixels."""

    def train() -> keras.Model:
        keras.utils.set_random_seed(0)
        split = emoji(packages).train
        network = backbone(packages, 64)
        features = network.predict(split.x, batch_size=_BATCH, verbose=0)
        head = L.Dense(10, name="categories")
        _fit(
            keras.Sequential([keras.Input(features.shape[1:]), head]),
            Samples(features, split.y),
            epochs=30,
        )
        return keras.Model(network.input, head(network.output), name="emoji_classifier")

    return stored(packages, "emoji_classifier", train)


def residual(packages: Packages) -> keras.Model:
    """Return a ResNet of 15 convolutions that is trained on Fashion-MNIST."""
    return stored(packages, "residual", lambda: _on_clothes(packages, _residual))


def plain(packages: Packages) -> keras.Model:
    """Return a network of four convolutions and two dense layers, without BatchNormalization, that
    is trained on Fashion-MNIST."""
    return stored(packages, "plain", lambda: _on_clothes(packages, _plain))


def plain_on_digits(packages: Packages) -> keras.Model:
    """Return the same plain network trained on digits of MNIST."""

    def train() -> keras.Model:
        return _trained(_plain, handwritten_digits(packages).train, epochs=10)

    return stored(packages, "plain_on_digits", train)


def _on_clothes(packages: Packages, build: Callable[[], keras.Model]) -> keras.Model:
    return _trained(build, clothes(packages).train, epochs=3)


def _trained(build: Callable[[], keras.Model], samples: Samples, epochs: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build()
    _fit(model, samples, epochs)
    return model


def _fit(model: keras.Model, samples: Samples, epochs: int) -> None:
    """Train with Adam from 0.002 along a cosine."""
    steps = epochs * -(-len(samples) // _BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), CROSSENTROPY)
    model.fit(samples.x, np.asarray(samples.y), batch_size=_BATCH, epochs=epochs, verbose=0)


def _plain() -> keras.Model:
    layers: list[keras.Layer] = []
    for filters in (16, 32):
        layers += [
            L.Conv2D(filters, 3, padding="same", activation="relu"),
            L.Conv2D(filters, 3, padding="same", activation="relu"),
            L.MaxPooling2D(2),
        ]
    hidden = L.Dense(128, activation="relu")
    return keras.Sequential(
        [keras.Input((28, 28, 1)), *layers, L.Flatten(), hidden, L.Dense(10)], name="plain"
    )


def _residual() -> keras.Model:
    inputs = keras.Input((28, 28, 1))
    x = _normalized(inputs, 16, 3, 2)
    for filters in (16, 32, 64):
        for stride in (1 if filters == 16 else 2, 1):
            shortcut = x if stride == 1 else _normalized(x, filters, 1, stride, relu=False)
            x = _normalized(_normalized(x, filters, 3, stride), filters, 3, 1, relu=False)
            x = L.ReLU()(L.Add()([x, shortcut]))
    outputs = L.Dense(10)(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name="residual")


def _normalized(x: object, filters: int, kernel: int, stride: int, relu: bool = True) -> object:
    x = L.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    x = L.BatchNormalization(momentum=0.9)(x)
    return L.ReLU()(x) if relu else x
