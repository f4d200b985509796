"""Networks of `keras.applications`, trained a little on crops of two photographs, converted and
calibrated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

import keras_prelu as kp
from tools.calibration.measure import ALPHA, SAMPLES

NAMES = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "Xception",
    "InceptionV3",
    "VGG16",
    "VGG19",
    "NASNetMobile",
    "DenseNet169",
    "DenseNet201",
    "ResNet101",
    "ResNet101V2",
    "InceptionResNetV2",
    "ResNet152",
    "ResNet152V2",
    "NASNetLarge",
)
SEARCHED = ("ResNet50", "DenseNet121", "MobileNetV2")
WAYS = ("none", "moments", "calibrated")
SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
SIZE, STEPS, BATCH, TEST = 64, 200, 32, 512


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
    """

    name: str
    sites: int
    rescale: str
    slope: float
    error: float
    accuracy: float
    accuracy_change: float


def applications(name: str) -> Iterator[Application]:
    """All ways for one network; the slopes are searched too for some."""
    rng, size = np.random.default_rng(0), SIZES.get(name, SIZE)
    model = _trained(name, size, rng)
    samples, _ = _crops(SAMPLES, size, rng)
    x, y = _crops(TEST, size, rng)
    before = model.predict(x, verbose=0)
    accuracy = 100.0 * float(np.mean(before.argmax(-1) == y))
    for rescale in (*WAYS, *(("auto",) if name in SEARCHED else ())):
        converted = kp.convert(
            model,
            alpha="auto" if rescale == "auto" else ALPHA,
            rescale="calibrated" if rescale == "auto" else rescale,
            calibration_data=samples if rescale in ("calibrated", "auto") else None,
        )
        after = converted.predict(x, verbose=0)
        change = 100.0 * float(np.mean(after.argmax(-1) == y)) - accuracy
        slopes = kp.diagnostics.slopes(converted)
        error = float(np.mean((after - before) ** 2) / np.var(before))
        mean = float(np.mean([layer.mean for layer in slopes]))
        yield Application(name, len(slopes), rescale, mean, error, accuracy, change)


def _trained(name: str, size: int, rng: np.random.Generator) -> keras.Model:
    """Trained to tell from which sixth of which photograph a crop is, until it is right on half of
    the last 20 batches' crops; then its statistics are taken anew."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=12, classifier_activation=None
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(1e-4 if name.startswith("VGG") else 1e-3), loss, metrics=["accuracy"]
    )
    last: deque[float] = deque(maxlen=20)
    for _ in range(STEPS):
        model.reset_metrics()
        last.append(model.train_on_batch(*_crops(BATCH, size, rng))[1])
        if len(last) == last.maxlen and np.mean(last) >= 0.5:
            break
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(8):
        model(keras.ops.convert_to_tensor(_crops(128, size, rng)[0]), training=True)
    return model


def _crops(count: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops of scikit-learn's two photographs (427 × 640 pixels), in -1 to 1, and from which sixth
    of which photograph they are."""
    from sklearn.datasets import load_sample_images

    images = np.stack(load_sample_images().images).astype("float32") / 127.5 - 1.0
    photograph = rng.integers(0, 2, count)
    row, column = (
        rng.integers(0, images.shape[1] - size, count),
        rng.integers(0, images.shape[2] - size, count),
    )
    crops = np.stack(
        [
            images[p, r : r + size, c : c + size]
            for p, r, c in zip(photograph, row, column, strict=True)
        ]
    )
    sixth = (row * 2 // (images.shape[1] - size)) * 3 + column * 3 // (images.shape[2] - size)
    return crops, photograph * 6 + sixth
