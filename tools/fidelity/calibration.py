"""How well each way of rescaling preserves a trained network's function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

import keras_prelu as kp
from tools.common.tasks import Task
from tools.fidelity.effort import ALPHA, SAMPLES


@dataclass(frozen=True)
class Calibration:
    """What one way of rescaling preserves of a trained network's function, on unseen samples.

    Attributes:
        task: The network.
        rescale: "none", "analytic", "moments", "calibrated", or "auto" for slopes that were
            searched and calibrated.
        seed: Seed of the training and of the calibration samples.
        samples: Number of calibration samples.
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


def calibrations(
    task: Task, seed: int, model: keras.Model, counts: tuple[int, ...] = ()
) -> Iterator[Calibration]:
    """Measure every way of rescaling; "calibrated" also with other numbers of samples."""
    split = task.samples(seed)
    train, test = split.train, split.test
    before = model.predict(test.x, verbose=0)

    def measured(rescale: str, count: int, converted: keras.Model) -> Calibration:
        after = converted.predict(test.x, verbose=0)
        return Calibration(
            task=task.name,
            rescale=rescale,
            seed=seed,
            samples=count,
            error=kp.diagnostics.relative_error(after, before),
            accuracy_change=_points(after, before, test.y) if task.classifies else None,
            slope=mean_slope(converted),
        )

    for rescale in ("none", "analytic", "moments"):
        yield measured(rescale, 0, kp.convert(model, alpha=ALPHA, rescale=rescale))
    for count in (*counts, SAMPLES):
        chosen = np.random.default_rng(seed).permutation(len(train))[:count]
        converted = kp.convert(model, alpha=ALPHA, rescale="none")
        kp.calibrate(converted, model, train.take(chosen).x, seed=seed)
        yield measured("calibrated", len(chosen), converted)
    converted = kp.convert(model, rescale="none")
    kp.find_slopes(converted, model, train.take(chosen).x, seed=seed)
    yield measured("auto", len(chosen), converted)


def mean_slope(model: keras.Model) -> float:
    """Return the mean over a model's PReLU layers of their mean slopes."""
    return float(np.mean([layer.mean for layer in kp.diagnostics.layer_slopes(model)]))


def _points(after: np.ndarray, before: np.ndarray, classes: np.ndarray) -> float:
    """Return the change of the accuracy in percentage points."""
    return 100.0 * float(
        np.mean(after.argmax(-1) == classes) - np.mean(before.argmax(-1) == classes)
    )
