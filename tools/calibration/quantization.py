"""What `kp.equalize` is for: per-tensor int8 of a network with badly scaled channels, by TensorFlow
Lite's converter and interpreter."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.deployment.formats.tflite import TensorFlowLite, create_converter
from keras_prelu.deployment.lowering import lower_model
from tools.calibration.tasks import Task


@dataclass(frozen=True)
class Quantized:
    """Accuracies in percent on test samples.

    Attributes:
        task: The network.
        seed: Of its training and of the scales.
        floating: Of the converted network in float32.
        int8: Of its int8 file.
        equalized: Of its int8 file after `kp.equalize`.
    """

    task: str
    seed: int
    floating: float
    int8: float
    equalized: float


def quantized(task: Task, seed: int, model: keras.Model) -> Quantized:
    """Convert and calibrate a trained network, scale its channels without changing its function,
    and quantize it before and after."""
    train, test = task.samples()
    chosen = np.random.default_rng(seed).permutation(len(train))[:512]
    converted = kp.convert(model, calibration_data=train.take(chosen).x)
    scale_badly(converted, seed)

    def accuracy(outputs: np.ndarray) -> float:
        return 100.0 * float(np.mean(outputs.argmax(-1) == test.y))

    floating = accuracy(converted.predict(test.x, verbose=0))
    before = accuracy(int8_outputs(converted, train.x[:200], test.x))
    kp.equalize(converted)
    return Quantized(
        task.name, seed, floating, before, accuracy(int8_outputs(converted, train.x[:200], test.x))
    )


def scale_badly(model: keras.Model, seed: int) -> None:
    """Multiply the channels between adjacent layers by 0.1 to 10, and divide what reads them: the
    function stays (claim 6)."""
    rng = np.random.default_rng(seed)
    linear = [
        layer
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    ]
    for first, second in itertools.pairwise(linear):
        factors = 10.0 ** rng.uniform(-1.0, 1.0, first.kernel.shape[-1])
        first.kernel.assign(keras.ops.convert_to_numpy(first.kernel) * factors)
        first.bias.assign(keras.ops.convert_to_numpy(first.bias) * factors)
        second.kernel.assign(keras.ops.convert_to_numpy(second.kernel) / factors[:, None])


def int8_outputs(model: keras.Model, representative: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What the network's per-tensor int8 TensorFlow Lite file puts out in its interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        lower_model(model, x).export(f"{folder}/model", verbose=False)
        converter = create_converter(f"{folder}/model", "int8", representative)
        converter._experimental_disable_per_channel = (
            True  # the converter has no public switch for per-tensor weights
        )
        path = Path(folder) / "model.tflite"
        path.write_bytes(converter.convert())
        return TensorFlowLite().load(path)(x)[0]
