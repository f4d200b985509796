"""Small networks and the data that they are trained on, which is bundled with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.data import Samples

__all__ = [
    "CROSSENTROPY",
    "Split",
    "Task",
    "convolved_rows",
    "digits",
    "images",
    "noisy",
    "trained",
    "with_noise",
]

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclass(frozen=True)
class Split:
    """Training and test samples with their targets."""

    train: Samples
    test: Samples


@dataclass(frozen=True)
class Task:
    """A network to be trained, and on what.

    Attributes:
        name: Name in tables.
        build: Builds the network.
        samples: Returns training and test samples by seed.
        epochs: Epochs of the training.
        loss: Keras loss.
        prepare: Changes the network before its training, by seed.
    """

    name: str
    build: Callable[[], keras.Model]
    samples: Callable[[int], Split]
    epochs: int
    loss: Any = CROSSENTROPY
    prepare: Callable[[keras.Model, int], None] | None = None

    @property
    def classifies(self) -> bool:
        """Whether the network's outputs are logits of classes."""
        return self.loss is CROSSENTROPY


def trained(task: Task, seed: int) -> keras.Model:
    """Return a task's network after its training: Adam from 0.003 along a cosine."""
    keras.utils.set_random_seed(seed)
    model = task.build()
    train = task.samples(seed).train
    if task.prepare:
        task.prepare(model, seed)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, task.epochs * -(-len(train) // 64))
    model.compile(keras.optimizers.Adam(schedule), task.loss)
    model.fit(train.x, train.y, batch_size=64, epochs=task.epochs, verbose=0)
    return model


def digits(seed: int = 0) -> Split:
    """Return images of digits and their classes, the same for each seed."""
    loaded = data.load("digits")
    assert loaded.test is not None
    return Split(train=loaded.train, test=loaded.test)


def images(seed: int = 0) -> Split:
    """Return images of digits as their own targets, the same for each seed."""
    split = digits()
    return Split(
        train=Samples(split.train.x, split.train.x), test=Samples(split.test.x, split.test.x)
    )


def noisy(seed: int) -> Split:
    """Return images of digits with noise, and without it as targets."""
    rng, split = np.random.default_rng(seed), images()
    return Split(train=with_noise(split.train, rng, 0.3), test=with_noise(split.test, rng, 0.3))


def with_noise(samples: Samples, rng: np.random.Generator, deviation: float) -> Samples:
    """Return samples with normal noise added to the inputs."""
    noise = rng.normal(0, deviation, samples.x.shape).astype("float32")
    return Samples(samples.x + noise, samples.y)


def convolved_rows(filters: int) -> list[Any]:
    """Return the first layers of a network that reads the rows of an image as a sequence."""
    layers = [
        keras.layers.Conv1D(filters, 3, padding="causal", dilation_rate=rate, activation="relu")
        for rate in (1, 2, 4)
    ]
    return [keras.Input((8, 8, 1)), keras.layers.Reshape((8, 8)), *layers]
