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
from keras_prelu.deployment.formats.base import Interface
from keras_prelu.deployment.formats.tflite import TensorFlowLite
from tools.common.tasks import Task, trained

REPRESENTATIVE = 200


@dataclass(frozen=True)
class Int8:
    """One form of a network, on unseen test samples.

    Attributes:
        task: The network.
        seed: Seed of its training.
        form: "ReLU", "PReLU" or "PReLU, equalized".
        floating: Accuracy in float32, in percent.
        int8: Accuracy of the int8 file.
        error: Mean squared difference of the int8 file's outputs from float32, over their variance.
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
    """Train a network, convert and calibrate it, equalize it, and quantize each form."""
    model = trained(task, seed)
    split = task.samples(seed)
    converted = calibrated(task, seed, model)
    equalized = keras.models.clone_model(converted)
    equalized.set_weights(converted.get_weights())
    kp.equalize(equalized)
    samples = split.train.x[:REPRESENTATIVE]
    widths = _widths(model, samples)
    for form, network in (("ReLU", model), ("PReLU", converted), ("PReLU, equalized", equalized)):
        floating = network.predict(split.test.x, verbose=0)
        rounded = _int8_outputs(network, samples, split.test.x)
        yield Int8(
            task=task.name,
            seed=seed,
            form=form,
            floating=accuracy(floating, split.test.y),
            int8=accuracy(rounded, split.test.y),
            error=kp.diagnostics.relative_error(rounded, floating),
            width=float(np.mean(_widths(network, samples) / widths)),
        )


def calibrated(task: Task, seed: int, model: keras.Model) -> keras.Model:
    """Return a trained network converted and calibrated on 512 of its training samples."""
    train = task.samples(seed).train
    chosen = np.random.default_rng(seed).permutation(len(train))[:512]
    return kp.convert(model, calibration_data=train.take(chosen).x)


def accuracy(logits: np.ndarray, classes: np.ndarray) -> float:
    """Return the accuracy in percent."""
    return 100.0 * float(np.mean(logits.argmax(-1) == classes))


def _int8_outputs(model: keras.Model, samples: np.ndarray, x: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kp.export(model, path, quantize="int8", samples=samples)
        return TensorFlowLite().load(path, Interface.of_model(model))(x)[0]


def _widths(model: keras.Model, samples: np.ndarray) -> np.ndarray:
    """Return the range of each rectifier's outputs, which an int8 file divides into 255 steps."""
    outputs = [layer.output for layer in model.layers if _rectifies(layer)]
    values = keras.Model(model.inputs, outputs).predict(samples, verbose=0)
    return np.array([np.ptp(part) for part in keras.tree.flatten(values)])


def _rectifies(layer: keras.layers.Layer) -> bool:
    return (
        isinstance(layer, (keras.layers.ReLU, kp.PReLU))
        or getattr(layer, "activation", None) is keras.activations.relu
    )
