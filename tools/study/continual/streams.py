"""Streams of tasks on the digits of scikit-learn, and one of regressions.

A stream is a function of a seed and a task's number. Every method sees the same tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
import scipy.ndimage
import sklearn.datasets

from keras_prelu.data import Samples

__all__ = [
    "CROSSENTROPY",
    "ContinualTask",
    "Stream",
    "class_splits",
    "permuted_pixels",
    "redrawn_labels",
    "regressions",
    "shifted_images",
]

CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

_TRAINING = 1408  # 44 batches of 32; the other 389 digits are test samples.
_MEMORIZED = 640
_REGRESSED = 2400
_INPUTS = 16  # Of a regression.


@dataclass(frozen=True)
class ContinualTask:
    """One task of a stream.

    Attributes:
        train: Training samples.
        test: Samples that errors are measured on; those of the training where what is measured is
            memorization.
        memorized: Whether they are the same.
    """

    train: Samples
    test: Samples
    memorized: bool = False


Stream = Callable[[int, int], ContinualTask]


def permuted_pixels(seed: int, number: int) -> ContinualTask:
    """Return digits whose pixels are permuted, by another permutation in each task."""
    x, y = _digits()
    order = np.random.default_rng([seed, number]).permutation(x.shape[1])
    return _divided(x[:, order], y)


def redrawn_labels(seed: int, number: int) -> ContinualTask:
    """Return the same digits with labels drawn at random, to be memorized."""
    x, _ = _digits()
    labels = np.random.default_rng([seed, number]).integers(0, 10, _MEMORIZED)
    samples = Samples(x[:_MEMORIZED], labels.astype("int32"))
    return ContinualTask(samples, samples, memorized=True)


def class_splits(seed: int, number: int) -> ContinualTask:
    """Return the digits of five classes, drawn and numbered anew in each task."""
    x, y = _digits()
    classes = np.random.default_rng([seed, number]).permutation(10)[:5]
    numbers = np.full(10, -1, "int32")
    numbers[classes] = np.arange(5)
    return _divided(x, numbers[y], among=numbers[y] >= 0)


def shifted_images(seed: int, number: int) -> ContinualTask:
    """Return digits as another camera sees them: blur, contrast, gain, noise, perhaps a negative."""
    x, y = _digits()
    rng = np.random.default_rng([seed, number])
    blurred = scipy.ndimage.gaussian_filter(
        x.reshape(-1, 8, 8), (0, *(2 * [rng.uniform(0.0, 0.7)])), mode="constant"
    )
    seen = 1.0 - blurred if rng.random() < 0.5 else blurred
    gain, offset, noise = (
        np.exp(rng.uniform(-1.2, 1.2)),
        rng.uniform(-0.7, 0.7),
        rng.uniform(0, 0.2),
    )
    images = gain * seen.reshape(x.shape) + offset + noise * rng.normal(size=x.shape)
    return _divided(images.astype("float32"), y)


def regressions(seed: int, number: int) -> ContinualTask:
    """Return the outputs of another random network on normal inputs in each task."""
    rng = np.random.default_rng([seed, number])
    first, second = rng.normal(size=(_INPUTS, 32)) / 2.0, rng.normal(size=(32, 1))
    x = rng.normal(size=(_REGRESSED, _INPUTS)).astype("float32")
    outputs = np.tanh(x @ first) @ second
    y = ((outputs - outputs.mean()) / outputs.std()).astype("float32")
    return _divided(x, y)


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels in [0, 1] as rows of 64, and labels, in a random order that is always the same."""
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16.0).astype("float32"), y[order].astype("int32")


def _divided(x: np.ndarray, y: np.ndarray, among: np.ndarray | None = None) -> ContinualTask:
    """Divide samples, or some of them, into those for training and for testing."""
    chosen = np.ones(len(x), bool) if among is None else among
    first, last = chosen.copy(), chosen.copy()
    first[_TRAINING:], last[:_TRAINING] = False, False
    return ContinualTask(Samples(x[first], y[first]), Samples(x[last], y[last]))
