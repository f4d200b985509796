"""Networks of `keras.applications`, trained a little on crops of two photographs, converted and calibrated."""

from __future__ import annotations

import time
from dataclasses import dataclass

import keras
import numpy as np

import keras_prelu as kp
from tools.calibration.measure import ALPHA, SAMPLES

WAYS = ("none", "moments", "calibrated", "auto")
SIZE, STEPS, BATCH, TEST = 64, 60, 32, 512


@dataclass(frozen=True)
class Application:
    """What each way of rescaling keeps of one network's function, on crops that nothing else saw.

    Attributes:
        name: The constructor's.
        sites: PReLU layers.
        rescale: "none", "moments", "calibrated", or "auto" for slopes that were searched.
        slope: Mean of the slopes.
        error: Mean squared change of the logits over their variance.
        accuracy: Of the original, in percent.
        accuracy_change: Percentage points.
        seconds: Converting and calibrating.
    """

    name: str
    sites: int
    rescale: str
    slope: float
    error: float
    accuracy: float
    accuracy_change: float
    seconds: float


def applications(name: str) -> list[Application]:
    """All ways for one network."""
    rng = np.random.default_rng(0)
    model = _trained(name, rng)
    samples, _ = _crops(SAMPLES, rng)
    x, y = _crops(TEST, rng)
    before = model.predict(x, verbose=0)
    accuracy = 100.0 * float(np.mean(before.argmax(-1) == y))
    found = []
    for rescale in WAYS:
        start = time.perf_counter()
        converted = kp.convert(
            model,
            alpha="auto" if rescale == "auto" else ALPHA,
            rescale="calibrated" if rescale == "auto" else rescale,
            calibration_data=samples if rescale in ("calibrated", "auto") else None,
        )
        seconds = time.perf_counter() - start
        after = converted.predict(x, verbose=0)
        change = 100.0 * float(np.mean(after.argmax(-1) == y)) - accuracy
        slopes = kp.diagnostics.slopes(converted)
        error = float(np.mean((after - before) ** 2) / np.var(before))
        mean = float(np.mean([layer.mean for layer in slopes]))
        found.append(Application(name, len(slopes), rescale, mean, error, accuracy, change, seconds))
    return found


def _trained(name: str, rng: np.random.Generator) -> keras.Model:
    """Trained for some steps to tell from which sixth of which photograph a crop is; then its statistics are taken anew."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(SIZE, SIZE, 3), classes=12, classifier_activation=None)
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(STEPS):
        model.train_on_batch(*_crops(BATCH, rng))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(8):
        model(keras.ops.convert_to_tensor(_crops(128, rng)[0]), training=True)
    return model


def _crops(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops of scikit-learn's two photographs (427 × 640 pixels), in -1 to 1, and from which sixth of which photograph they are."""
    from sklearn.datasets import load_sample_images

    images = np.stack(load_sample_images().images).astype("float32") / 127.5 - 1.0
    photograph = rng.integers(0, 2, count)
    row, column = rng.integers(0, images.shape[1] - SIZE, count), rng.integers(0, images.shape[2] - SIZE, count)
    crops = np.stack([images[p, r : r + SIZE, c : c + SIZE] for p, r, c in zip(photograph, row, column, strict=True)])
    sixth = (row * 2 // (images.shape[1] - SIZE)) * 3 + column * 3 // (images.shape[2] - SIZE)
    return crops, photograph * 6 + sixth
