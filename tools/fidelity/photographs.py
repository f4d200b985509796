"""Networks of `keras.applications`, trained a little on crops of two photographs, converted and
calibrated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from tools.common.networks import smallest_size
from tools.fidelity.calibration import mean_slope
from tools.fidelity.effort import ALPHA, Photographs

SIZE, BATCH = 64, 32


@dataclass(frozen=True)
class PhotographCalibration:
    """What one way of rescaling preserves of one network's function, on unseen crops.

    Attributes:
        name: Name of the constructor.
        sites: PReLU layers.
        rescale: "none", "moments", "calibrated", or "auto" for slopes that were searched.
        slope: Mean of the slopes.
        error: Mean squared change of the logits over their variance.
        accuracy: Accuracy of the original, in percent.
        accuracy_change: Percentage points.
    """

    name: str
    sites: int
    rescale: str
    slope: float
    error: float
    accuracy: float
    accuracy_change: float


def photograph_calibrations(name: str, effort: Photographs) -> Iterator[PhotographCalibration]:
    """Measure every way of rescaling for one network; for some, also searched slopes."""
    rng, size = np.random.default_rng(0), smallest_size(name, SIZE)
    model = _trained(name, size, effort, rng)
    samples, test = _crops(effort.samples, size, rng).x, _crops(effort.test, size, rng)
    before = model.predict(test.x, verbose=0)
    accuracy = _accuracy(before, test.y)
    searched = ("auto",) if name in effort.searched else ()
    for rescale in (*effort.rescales, *searched):
        converted = kp.convert(
            model,
            alpha="auto" if rescale == "auto" else ALPHA,
            rescale="calibrated" if rescale == "auto" else rescale,
            calibration_data=samples if rescale in ("calibrated", "auto") else None,
        )
        after = converted.predict(test.x, verbose=0)
        yield PhotographCalibration(
            name=name,
            sites=len(kp.diagnostics.layer_slopes(converted)),
            rescale=rescale,
            slope=mean_slope(converted),
            error=kp.diagnostics.relative_error(after, before),
            accuracy=accuracy,
            accuracy_change=_accuracy(after, test.y) - accuracy,
        )


def _accuracy(logits: np.ndarray, classes: np.ndarray) -> float:
    return 100.0 * float(np.mean(logits.argmax(-1) == classes))


def _trained(name: str, size: int, effort: Photographs, rng: np.random.Generator) -> keras.Model:
    """Train a network to tell from which sixth of which photograph a crop is, until it is right on
    half of the last 20 batches' crops; then recompute the statistics of BatchNormalization."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=12, classifier_activation=None
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = 1e-4 if name.startswith("VGG") else 1e-3
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    last: deque[float] = deque(maxlen=20)
    for _ in range(effort.steps):
        model.reset_metrics()
        crops = _crops(BATCH, size, rng)
        last.append(model.train_on_batch(crops.x, crops.y)[1])
        if len(last) == last.maxlen and np.mean(last) >= 0.5:
            break
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(effort.statistics):
        model(keras.ops.convert_to_tensor(_crops(128, size, rng).x), training=True)
    return model


def _crops(count: int, size: int, rng: np.random.Generator) -> Samples:
    """Return crops of scikit-learn's two photographs (427 × 640 pixels), in -1 to 1, and from which
    sixth of which photograph they are."""
    from sklearn.datasets import load_sample_images

    images = np.stack(load_sample_images().images).astype("float32") / 127.5 - 1.0
    rows, columns = images.shape[1] - size, images.shape[2] - size
    photograph = rng.integers(0, 2, count)
    row, column = rng.integers(0, rows, count), rng.integers(0, columns, count)
    corners = zip(photograph, row, column, strict=True)
    crops = np.stack([images[p, r : r + size, c : c + size] for p, r, c in corners])
    sixth = (row * 2 // rows) * 3 + column * 3 // columns
    return Samples(crops, photograph * 6 + sixth)
