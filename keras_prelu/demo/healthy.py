"""A healthy network, fine-tuned on the data that it was trained on: ReLU and converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.conversion.convert import convert
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.finetune import finetune
from keras_prelu.training.result import FineTuning
from keras_prelu.training.variable_creation import build_for_training

__all__ = ["Healthy", "digits_network", "run_healthy"]

_BATCH_SIZE = 64
_LEARNING_RATE = 3e-3  # Of the training from fresh weights.


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """A healthy network.

    Attributes:
        original: Keras model. The trained ReLU network.
        converted: Keras model. Its conversion.
        largest_difference: Float. The largest difference of their logits on the test samples.
        tuning: `FineTuning` of the converted network beside the ReLU control.
    """

    original: keras.Model
    converted: keras.Model
    largest_difference: float
    tuning: FineTuning


def digits_network() -> keras.Model:
    """Return a network of four 3 × 3 convolutions with ten logits.

    BatchNormalization and ReLU follow each convolution.
    """
    layers: list[Any] = [keras.Input((8, 8, 1))]
    for index, filters in enumerate((32, 32, 64, 64), start=1):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{index}"),
            keras.layers.BatchNormalization(momentum=0.9, name=f"bn{index}"),
            keras.layers.ReLU(name=f"relu{index}"),
        ]
        if index == 2:
            layers.append(keras.layers.MaxPooling2D(name="pool"))
    layers += [
        keras.layers.GlobalAveragePooling2D(name="mean"),
        keras.layers.Dense(10, name="logits"),
    ]
    return keras.Sequential(layers, name="digits")


def run_healthy(seed: int, epochs: int, *, on_progress: Callable[[str], None]) -> Healthy:
    """Train a network, convert it, and fine-tune both.

    Args:
        seed: Int. Seed of initialization and data order.
        epochs: Int. Epochs of the training; fine-tuning takes half as many.
        on_progress: Function that is called with the name of each stage as it begins.
    """
    digits = data.load("digits")
    assert digits.test is not None
    on_progress("a healthy network: training with ReLU")
    original = _train(digits.train, seed, epochs)
    converted = convert(original)
    difference = np.abs(_logits(converted, digits.test) - _logits(original, digits.test))
    on_progress("a healthy network: fine-tuning on the same data")
    tuning = finetune(
        converted,
        digits.train,
        digits.test,
        original=original,
        epochs=max(1, epochs // 2),
        batch_size=_BATCH_SIZE,
        seed=seed,
    )
    return Healthy(
        original=original,
        converted=converted,
        largest_difference=float(difference.max()),
        tuning=tuning,
    )


def _train(samples: data.Samples, seed: int, epochs: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = digits_network()
    batches = ShuffledBatches(samples, _BATCH_SIZE, seed)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    build_for_training(model, samples)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
    return model


def _logits(model: keras.Model, samples: data.Samples) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(samples.x), training=False))
