"""What PReLU does to int8: TensorFlow Lite files of trained networks with ReLU, with PReLU, and
with PReLU after `kp.equalize`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.deployment.formats.tflite import TensorFlowLite
from tools.calibration.tasks import Task, trained

REPRESENTATIVE = 200


@dataclass(frozen=True)
class Int8:
    """One form of a network, on test samples that nothing else saw.

    Attributes:
        task: The network.
        seed: Of its training.
        form: "ReLU", "PReLU" or "PReLU, equalized".
        floating: Accuracy in float32, in percent.
        int8: Accuracy of the int8 file.
        error: Mean squared difference of the int8 file's outputs to float32, over their variance.
        width: Mean over the activations of the range of their outputs, over that of the ReLU
            network's.
    """

    task: str
    seed: int
    form: str
    floating: float
    int8: float
    error: float
    width: float


def int8_forms(task: Task, seed: int) -> Iterator[Int8]:
    """Train a network, convert and calibrate it, equalize it, and quantize each."""
    model = trained(task, seed)
    train, test = task.samples()
    chosen = np.random.default_rng(seed).permutation(len(train))[:512]
    converted = kp.convert(model, calibration_data=train.take(chosen).x)
    equalized = keras.models.clone_model(converted)
    equalized.set_weights(converted.get_weights())
    kp.equalize(equalized)
    samples = train.x[:REPRESENTATIVE]
    widths = _widths(model, samples)
    for form, network in (("ReLU", model), ("PReLU", converted), ("PReLU, equalized", equalized)):
        floating = network.predict(test.x, verbose=0)
        rounded = _int8_outputs(network, samples, test.x)
        accuracies = [
            100.0 * float(np.mean(outputs.argmax(-1) == test.y)) for outputs in (floating, rounded)
        ]
        error = float(np.mean((rounded - floating) ** 2) / np.var(floating))
        yield Int8(
            task.name,
            seed,
            form,
            *accuracies,
            error,
            float(np.mean(_widths(network, samples) / widths)),
        )


def _int8_outputs(model: keras.Model, samples: np.ndarray, x: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kp.export(model, path, quantize="int8", samples=samples)
        return TensorFlowLite().load(path)(x)[0]


def _widths(model: keras.Model, samples: np.ndarray) -> np.ndarray:
    """The range of each rectifier's outputs, which an int8 file divides into 255 steps."""
    outputs = [layer.output for layer in model.layers if _rectifies(layer)]
    values = keras.Model(model.inputs, outputs).predict(samples, verbose=0)
    return np.array([np.ptp(part) for part in keras.tree.flatten(values)])


def _rectifies(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, (keras.layers.ReLU, kp.PReLU))
        or getattr(layer, "activation", None) is keras.activations.relu
    )
