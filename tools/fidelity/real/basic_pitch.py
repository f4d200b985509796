"""Basic Pitch, which transcribes music, from PyPI's basic-pitch (Bittner et al. 2022,
https://arxiv.org/abs/2203.09893): the convolutions. The wavelets before them are features here,
which onnxruntime computes from the package's own file."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.packages import Package, Packages
from tools.common.tasks import Split
from tools.fidelity.real.data import piano_notes

__all__ = ["PACKAGE", "basic_pitch", "difference", "note_accuracy", "notes"]

L = keras.layers

PACKAGE = Package(
    "pypi", "basic-pitch", "0.4.0", ("basic_pitch/saved_models/icassp_2022/nmp.onnx",)
)
RATE, WINDOW, FRAMES, BINS, HARMONICS, NOTES = 22_050, 43_844, 172, 264, 8, 88
_LOWEST_MIDI = 21
_PART = 21
"""Frames of a sample, a quarter of a second."""


def basic_pitch(packages: Packages, frames: int | None = _PART) -> keras.Model:
    """Return the convolutions, with the logits of each of a piano's 88 notes, and of its onset, in
    each of so many frames."""
    weights = _weights(packages)

    def convolution(
        x: Any, name: str, shape: tuple[int, ...], stride: int = 1, **kwargs: Any
    ) -> Any:
        kernel, bias = weights[shape]
        layer = L.Conv2D(shape[0], shape[2:], (1, stride), padding="same", name=name, **kwargs)
        outputs = layer(x)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
        return outputs

    relu = partial(convolution, activation="relu")
    inputs = keras.Input((frames, BINS, HARMONICS))
    contour = relu(inputs, "contours", (8, 8, 3, 39))
    contour = convolution(contour, "contour", (1, 8, 5, 5), activation="sigmoid")
    note = convolution(relu(contour, "notes", (32, 1, 7, 7), 3), "note", (1, 32, 7, 3))
    onset = relu(inputs, "onsets", (32, 8, 5, 5), 3)
    onset = L.Concatenate(name="notes_and_onsets")(
        [L.Activation("sigmoid", name="probability")(note), onset]
    )
    onset = convolution(onset, "onset", (1, 33, 3, 3))
    return keras.Model(inputs, L.Concatenate(name="logits")([note, onset]), name="basic_pitch")


def difference(packages: Packages) -> float:
    """Return the largest difference of the probabilities from those of onnxruntime."""
    sound = np.random.default_rng(0).normal(size=(2, WINDOW)).astype("float32")
    harmonics, note, onset = _run(
        packages, sound, "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"
    )
    logits = basic_pitch(packages, FRAMES).predict(harmonics, verbose=0).astype("float64")
    return float(np.abs(1 / (1 + np.exp(-logits)) - np.stack([note, onset], -1)).max())


def notes(packages: Packages) -> Split:
    """Return the harmonics of a piano's notes, a quarter of a second each, with the played note in
    each frame."""
    harmonics: dict[bool, list[np.ndarray]] = {True: [], False: []}
    played: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for test, midi, sound in piano_notes(packages, RATE):
        note = round(midi) - _LOWEST_MIDI
        if not 0 <= note < NOTES:
            continue
        count = max(1, len(sound) // WINDOW)
        padded = np.pad(sound, (0, max(0, WINDOW - len(sound))))
        (found,) = _run(packages, padded[: count * WINDOW].reshape(count, WINDOW))
        parts = found[:, : FRAMES // _PART * _PART].reshape(-1, _PART, BINS, HARMONICS)
        harmonics[test].append(parts)
        played[test].append(np.full((len(parts), _PART), note))
    return Split(
        train=_shuffled(harmonics[False], played[False]),
        test=_shuffled(harmonics[True], played[True]),
    )


def _shuffled(x: list[np.ndarray], y: list[np.ndarray]) -> Samples:
    order = np.random.default_rng(0).permutation(sum(map(len, x)))
    return Samples(np.concatenate(x)[order], np.concatenate(y)[order])


def note_accuracy(logits: np.ndarray, played: np.ndarray) -> float:
    """Return the percentage of frames whose most probable note is the played one."""
    return 100.0 * float(np.mean(logits[..., 0].argmax(-1) == played))


def _weights(packages: Packages) -> dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """Return kernel and bias of each convolution of images, by the shape of the kernel."""
    import onnx

    graph = onnx.load(_path(packages)).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [
        tuple(tensors[name] for name in node.input[1:])
        for node in graph.node
        if node.op_type == "Conv" and min(tensors[node.input[1]].shape[2:]) > 1
    ]
    return {kernel.shape: (kernel, bias) for kernel, bias in pairs}


def _run(packages: Packages, sound: np.ndarray, *outputs: str) -> list[np.ndarray]:
    """Return the harmonics that the package's file makes of windows of sound, and outputs."""
    harmonics, session = _session(packages)
    return session.run([harmonics, *outputs], {session.get_inputs()[0].name: sound[..., None]})


@cache
def _session(packages: Packages) -> tuple[str, Any]:
    """Return the name of the harmonics in the package's file, and the session that runs it."""
    import onnx
    import onnxruntime

    model = onnx.load(_path(packages))
    (harmonics,) = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Slice"
        and node.output[0].endswith("harmonic-stacking-diff/strided_slice_7")
    ]
    model.graph.output.append(onnx.ValueInfoProto(name=harmonics))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return harmonics, session


def _path(packages: Packages) -> Path:
    (pattern,) = PACKAGE.members
    return packages.folder(PACKAGE) / pattern
