"""Demonstration on the bundled digits.

It trains a ReLU network, converts and calibrates it, fine-tunes the converted network and its
control, and compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.calibration.calibrate import calibrate
from keras_prelu.conversion.convert import convert
from keras_prelu.diagnostics.comparison import Comparison, compare_scores
from keras_prelu.theory import relative_error
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.finetune import FineTuning, finetune
from keras_prelu.training.variable_creation import build_for_training

__all__ = ["ALPHA", "CALIBRATION_SAMPLES", "Conversion", "Demo", "digits_network", "run_demo"]

ALPHA = 0.25
CALIBRATION_SAMPLES = 512
_BATCH_SIZE = 64
_LEARNING_RATE = 3e-3  # Of the training from fresh weights.

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Conversion:
    """The change of a network's function under one way of rescaling, without training.

    Tuples have a value for each seed.

    Attributes:
        rescale: Str. "none", "analytic" or "calibrated".
        accuracy_change: Tuple of floats. Test accuracy of the converted network minus that of the
            original, in percentage points.
        logit_error: Tuple of floats. Mean squared change of the logits divided by their variance,
            on the test samples.
    """

    rescale: str
    accuracy_change: tuple[float, ...]
    logit_error: tuple[float, ...]


@dataclass(frozen=True)
class Demo:
    """The results of the demonstration; tuples have a value for each seed.

    Attributes:
        seeds: Tuple of ints. The seeds.
        alpha: Float. The initial slope.
        original_accuracy: Tuple of floats. Test accuracy of the ReLU networks, in percent.
        conversions: Tuple with a `Conversion` for each way of rescaling.
        tuned_accuracy: Tuple of floats. Test accuracy of the fine-tuned PReLU networks, in percent.
        control_accuracy: Tuple of floats. Test accuracy of their fine-tuned ReLU controls, in
            percent.
        comparison: `Comparison` of PReLU networks with their controls on the test samples. The
            score of each sample is averaged over the seeds.
        first: `FineTuning` of the first seed.
        original: Keras model. The ReLU network of the first seed.
        converted: Keras model. The calibrated conversion of `original`.
    """

    seeds: tuple[int, ...]
    alpha: float
    original_accuracy: tuple[float, ...]
    conversions: tuple[Conversion, ...]
    tuned_accuracy: tuple[float, ...]
    control_accuracy: tuple[float, ...]
    comparison: Comparison
    first: FineTuning
    original: keras.Model
    converted: keras.Model


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


def run_demo(
    seeds: Sequence[int] = (0, 1, 2), *, epochs: int = 16, on_progress: Progress | None = None
) -> Demo:
    """Train, convert, calibrate, fine-tune and compare, once for each seed.

    Args:
        seeds: Sequence of int. Seeds of initialization, data order and the choice of calibration
            samples. Defaults to (0, 1, 2).
        epochs: Int. Epochs of the ReLU network's training; fine-tuning takes half as many. Defaults
            to 16.
        on_progress: Function that is called with the name of each stage as it begins. Defaults to
            None.
    """
    digits = data.load("digits")
    report = on_progress or (lambda stage: None)
    results = [_run_seed(digits, seed, epochs, report) for seed in seeds]
    first = results[0]
    return Demo(
        seeds=tuple(seeds),
        alpha=ALPHA,
        original_accuracy=tuple(100.0 * result.accuracy for result in results),
        conversions=tuple(
            Conversion(
                rescale=rescale,
                accuracy_change=tuple(result.changes[rescale][0] for result in results),
                logit_error=tuple(result.changes[rescale][1] for result in results),
            )
            for rescale in first.changes
        ),
        tuned_accuracy=tuple(100.0 * result.tuning.prelu.score_after for result in results),
        control_accuracy=tuple(100.0 * _control_scores(result.tuning).mean() for result in results),
        comparison=compare_scores(
            "accuracy",
            np.mean([result.tuning.scores for result in results], axis=0),
            np.mean([_control_scores(result.tuning) for result in results], axis=0),
            runs=len(results),
        ),
        first=first.tuning,
        original=first.original,
        converted=first.converted,
    )


@dataclass(frozen=True, kw_only=True)
class _SeedResult:
    """The models of one seed; `changes` holds those of accuracy and logits, by way of rescaling."""

    original: keras.Model
    converted: keras.Model
    accuracy: float
    changes: dict[str, tuple[float, float]]
    tuning: FineTuning


def _run_seed(digits: data.Dataset, seed: int, epochs: int, report: Progress) -> _SeedResult:
    assert digits.test is not None
    report(f"seed {seed}: training the ReLU network")
    original = _train(digits.train, seed, epochs)
    report(f"seed {seed}: converting and calibrating")
    chosen = np.random.default_rng(seed).permutation(len(digits.train))[:CALIBRATION_SAMPLES]
    samples = digits.train.take(chosen).x
    candidates = {
        rescale: convert(original, alpha=ALPHA, rescale=rescale) for rescale in ("none", "analytic")
    }
    candidates["calibrated"] = convert(original, alpha=ALPHA, rescale="none")
    calibrate(candidates["calibrated"], original, samples, seed=seed)
    logits = _logits(original, digits.test)
    accuracy = _accuracy(logits, digits.test)
    changes = {}
    for rescale, model in candidates.items():
        new = _logits(model, digits.test)
        changes[rescale] = (
            100.0 * (_accuracy(new, digits.test) - accuracy),
            relative_error(new, logits),
        )
    report(f"seed {seed}: fine-tuning PReLU and the ReLU control")
    tuning = finetune(
        candidates["calibrated"],
        digits.train,
        digits.test,
        original=original,
        epochs=max(1, epochs // 2),
        batch_size=_BATCH_SIZE,
        seed=seed,
    )
    return _SeedResult(
        original=original,
        converted=candidates["calibrated"],
        accuracy=accuracy,
        changes=changes,
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


def _accuracy(logits: np.ndarray, samples: data.Samples) -> float:
    return float(np.mean(logits.argmax(-1) == samples.y))


def _control_scores(tuning: FineTuning) -> np.ndarray:
    assert tuning.control_scores is not None
    return tuning.control_scores
