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
from keras_prelu.deployment.formats.base import Interface, Settings
from keras_prelu.deployment.formats.tflite import TensorFlowLite, create_converter
from keras_prelu.deployment.lowering import lower_model
from tools.common.tasks import Task, trained
from tools.deployment.int8 import REPRESENTATIVE

CALIBRATION = 512


@dataclass(frozen=True)
class PerTensorInt8:
    """Accuracies in percent on test samples.

    Attributes:
        task: The network.
        seed: Seed of its training and of the scales.
        floating: Accuracy of the converted network in float32.
        int8: Accuracy of its int8 file.
        equalized: Accuracy of its int8 file after `kp.equalize`.
    """

    task: str
    seed: int
    floating: float
    int8: float
    equalized: float


def per_tensor(task: Task, seed: int) -> PerTensorInt8:
    """Train, convert and calibrate a network, scale its channels without changing its function, and
    quantize it before and after `kp.equalize`."""
    split = task.samples(seed)
    train, test = split.train, split.test
    chosen = np.random.default_rng(seed).permutation(len(train))[:CALIBRATION]
    converted = kp.convert(trained(task, seed), calibration_data=train.take(chosen).x)
    scale_badly(converted, seed)
    samples = train.x[:REPRESENTATIVE]
    floating = _accuracy(converted.predict(test.x, verbose=0), test.y)
    before = _accuracy(_int8_outputs(converted, samples, test.x), test.y)
    kp.equalize(converted)
    return PerTensorInt8(
        task=task.name,
        seed=seed,
        floating=floating,
        int8=before,
        equalized=_accuracy(_int8_outputs(converted, samples, test.x), test.y),
    )


def scale_badly(model: keras.Model, seed: int) -> None:
    """Multiply the channels between adjacent layers by 0.1 to 10 and divide the kernels that read
    them, which leaves the function as it is (claim 6)."""
    rng = np.random.default_rng(seed)
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    linear = [layer for layer in model.layers if isinstance(layer, kinds)]
    for first, second in itertools.pairwise(linear):
        factors = 10.0 ** rng.uniform(-1.0, 1.0, first.kernel.shape[-1])
        first.kernel.assign(keras.ops.convert_to_numpy(first.kernel) * factors)
        first.bias.assign(keras.ops.convert_to_numpy(first.bias) * factors)
        second.kernel.assign(keras.ops.convert_to_numpy(second.kernel) / factors[:, None])


def _int8_outputs(model: keras.Model, samples: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the outputs of the network's per-tensor int8 file in TensorFlow Lite."""
    with tempfile.TemporaryDirectory() as folder:
        lower_model(model, x).export(f"{folder}/model", verbose=False)
        settings = Settings(
            quantize="int8",
            samples=samples,
            opset=None,
            optimize_for=None,
            frozen=False,
            prune=0.0,
            interface=Interface.of_model(model),
        )
        converter = create_converter(f"{folder}/model", settings)
        # The converter has no public switch for per-tensor weights.
        converter._experimental_disable_per_channel = True
        path = Path(folder) / "model.tflite"
        path.write_bytes(converter.convert())
        return TensorFlowLite().load(path, settings.interface)(x)[0]


def _accuracy(logits: np.ndarray, classes: np.ndarray) -> float:
    """Return the accuracy in percent."""
    return 100.0 * float(np.mean(logits.argmax(-1) == classes))
