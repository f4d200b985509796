"""The measurements: how well each way of rescaling keeps a function, how many samples that takes,
and how the cost grows with depth."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

import keras_prelu as kp
from tools.calibration.tasks import Task

ALPHA = 0.25
SAMPLES = 512
L = keras.layers


@dataclass(frozen=True)
class Kept:
    """What one way of rescaling kept of a trained network's function, on samples that it did not
    see.

    Attributes:
        task: The network.
        rescale: "none", "analytic", "moments", "calibrated", or "auto" for slopes that were
            searched and calibrated.
        seed: Of the training and of the calibration samples.
        samples: How many were calibrated with.
        error: Mean squared change of the outputs over their variance.
        accuracy_change: Percentage points, for classifiers.
        slope: Mean of the layers' slopes.
    """

    task: str
    rescale: str
    seed: int
    samples: int
    error: float
    accuracy_change: float | None
    slope: float


@dataclass(frozen=True)
class Cost:
    """What calibrating a chain of layers costs.

    Attributes:
        layers: Convolutions.
        seconds: Of the calibration.
        predictions: The same as a multiple of one pass of `predict` over the samples.
    """

    layers: int
    seconds: float
    predictions: float


@dataclass(frozen=True)
class Memory:
    """Memory of a process of its own.

    Attributes:
        what: "predict" (all samples at once through the original), "calibrate", or "spilled"
            (calibrate under a limit).
        samples: How many.
        bytes: The most that it had over what it had before.
        weights: A digest of the weights afterwards.
    """

    what: str
    samples: int
    bytes: float
    weights: str


def kept(task: Task, seed: int, model: keras.Model, counts: tuple[int, ...] = ()) -> Iterator[Kept]:
    """Every way of rescaling; "calibrated" also with other numbers of samples."""
    train, test = task.samples()
    before = model.predict(test.x, verbose=0)
    for rescale in ("none", "analytic", "moments"):
        yield _kept(task, rescale, seed, 0, before, kp.convert(model, alpha=ALPHA, rescale=rescale))
    for count in (*counts, SAMPLES):
        chosen = np.random.default_rng(seed).permutation(len(train))[:count]
        converted = kp.convert(model, alpha=ALPHA, rescale="none")
        kp.calibrate(converted, model, train.take(chosen).x, seed=seed)
        yield _kept(task, "calibrated", seed, len(chosen), before, converted)
    converted = kp.convert(model, rescale="none")
    kp.find_slopes(converted, model, train.take(chosen).x, seed=seed)
    yield _kept(task, "auto", seed, len(chosen), before, converted)


def _kept(
    task: Task, rescale: str, seed: int, count: int, before: np.ndarray, converted: keras.Model
) -> Kept:
    _, test = task.samples()
    after = converted.predict(test.x, verbose=0)
    error = float(np.mean((after - before) ** 2) / np.var(before))
    change = None
    if task.classifies:
        change = 100.0 * float(
            np.mean(after.argmax(-1) == test.y) - np.mean(before.argmax(-1) == test.y)
        )
    slope = float(np.mean([layer.mean for layer in kp.diagnostics.slopes(converted)]))
    return Kept(task.name, rescale, seed, count, error, change, slope)


def chain(layers: int) -> keras.Model:
    """Convolutions with BatchNormalization, 32 channels wide, for images of 16 × 16 pixels."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 16, 3))
    for _ in range(layers):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(32, 3, padding="same", use_bias=False)(x)))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def cost(layers: int) -> Cost:
    """Of a chain of so many convolutions, on 512 images."""
    model = chain(layers)
    images = np.random.default_rng(0).normal(size=(SAMPLES, 16, 16, 3)).astype("float32")
    predict = partial(model.predict, images, batch_size=128, verbose=0)
    predict()
    pass_seconds = min(_seconds(predict) for _ in range(5))
    converted = kp.convert(model, alpha=ALPHA, rescale="none")
    seconds = _seconds(partial(kp.calibrate, converted, model, images))
    return Cost(layers, seconds, seconds / pass_seconds)


def _seconds(run: partial[object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
