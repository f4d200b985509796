"""How the time of a calibration grows with depth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

import keras_prelu as kp
from tools.fidelity.effort import ALPHA, SAMPLES

L = keras.layers


@dataclass(frozen=True)
class CalibrationTime:
    """Time of calibrating a chain of layers.

    Attributes:
        layers: Number of convolutions.
        seconds: Seconds of the calibration.
        predictions: The same as a multiple of one pass of `predict` over the samples.
    """

    layers: int
    seconds: float
    predictions: float


def chain(layers: int) -> keras.Model:
    """Build convolutions with BatchNormalization, 32 channels wide, for images of 16 × 16."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((16, 16, 3))
    for _ in range(layers):
        x = L.ReLU()(L.BatchNormalization()(L.Conv2D(32, 3, padding="same", use_bias=False)(x)))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def calibration_time(layers: int) -> CalibrationTime:
    """Time the calibration of a chain of so many convolutions on 512 images."""
    model = chain(layers)
    images = np.random.default_rng(0).normal(size=(SAMPLES, 16, 16, 3)).astype("float32")
    predict = partial(model.predict, images, batch_size=128, verbose=0)
    predict()
    pass_seconds = min(_seconds(predict) for _ in range(5))
    converted = kp.convert(model, alpha=ALPHA, rescale="none")
    seconds = _seconds(partial(kp.calibrate, converted, model, images))
    return CalibrationTime(layers=layers, seconds=seconds, predictions=seconds / pass_seconds)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
