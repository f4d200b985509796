"""The real networks: how each is built, its data, and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from tools.common.packages import Package, Packages
from tools.common.tasks import CROSSENTROPY, Split
from tools.fidelity.real import basic_pitch, crepe, data, efficientnet_lite, trained, upscaler

__all__ = ["NETWORKS", "Metric", "RealNetwork"]

_CROPS, _TEST_CROPS, _LARGE = 2_048, 512, 200


@dataclass(frozen=True)
class Metric:
    """What users of a network judge it by.

    Attributes:
        name: Name, with its unit.
        value: Function of the outputs and of what they should be; larger is better.
    """

    name: str
    value: Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Original:
    """What a network from a package is compared with, before anything is measured.

    Attributes:
        name: What it is.
        difference: Returns the largest difference of the outputs.
        tolerance: The largest that is accepted.
    """

    name: str
    difference: Callable[[Packages], float]
    tolerance: float


@dataclass(frozen=True)
class RealNetwork:
    """A network that was really trained, and real data.

    Attributes:
        name: Name in tables.
        kind: What it consists of.
        packages: What is fetched.
        build: Builds the network, whose outputs are logits if it classifies.
        data: Reads samples for the calibration, and others for the comparison.
        top: Returns the classes that outputs stand for; None if they stand for none.
        metric: What the network is judged by; None without targets.
        original: What it is compared with; None if it was trained here.
        loss: Keras loss to fine-tune with; None if it is not fine-tuned.
        is_costly: Whether it takes so long that one seed, one number of calibration samples and
            few new ones must do.
    """

    name: str
    kind: str
    packages: tuple[Package, ...]
    build: Callable[[Packages], keras.Model]
    data: Callable[[Packages], Split]
    top: Callable[[np.ndarray], np.ndarray] | None = None
    metric: Metric | None = None
    original: Original | None = None
    loss: Any = None
    is_costly: bool = False


def _largest(outputs: np.ndarray) -> np.ndarray:
    return outputs.argmax(-1)


def _note(outputs: np.ndarray) -> np.ndarray:
    return outputs[..., 0].argmax(-1)


def _accuracy(outputs: np.ndarray, classes: np.ndarray) -> float:
    return 100.0 * float(np.mean(outputs.argmax(-1) == classes))


def _photographs(packages: Packages, size: int) -> Split:
    return data.photographs(size, _CROPS if size < _LARGE else _TEST_CROPS, _TEST_CROPS)


def _magnified(packages: Packages) -> Split:
    return data.magnified_photographs(_UPSCALED_SIZE, _CROPS, _TEST_CROPS)


_UPSCALED_SIZE = 24
_ACCURACY = Metric(name="accuracy, %", value=_accuracy)
_PYTORCH = "the authors' code on PyTorch, relative to the largest logit"
_EFFICIENTNET = Original(name=_PYTORCH, difference=efficientnet_lite.difference, tolerance=1e-4)


def _of_clothes(name: str, kind: str, build: Callable[[Packages], keras.Model]) -> RealNetwork:
    return RealNetwork(
        name=f"{name}, Fashion-MNIST",
        kind=kind,
        packages=data.FASHION_MNIST,
        build=build,
        data=data.clothes,
        top=_largest,
        metric=_ACCURACY,
        loss=CROSSENTROPY,
    )


def _efficientnet(size: int) -> RealNetwork:
    return RealNetwork(
        name=f"EfficientNet-Lite0, {size} px",
        kind="mobile",
        packages=(efficientnet_lite.WEIGHTS, efficientnet_lite.CODE),
        build=partial(efficientnet_lite.imagenet_classifier, size=size),
        data=partial(_photographs, size=size),
        top=_largest,
        original=_EFFICIENTNET,
        is_costly=size >= _LARGE,
    )


def _crepe(kind: str) -> RealNetwork:
    return RealNetwork(
        name=f"CREPE {kind}",
        kind="wide Conv1D",
        packages=(crepe.PACKAGE, *data.PIANO),
        build=partial(crepe.crepe, kind=kind),
        data=crepe.notes,
        top=_largest,
        metric=Metric(name="pitches within 50 cents, %", value=crepe.pitch_accuracy),
        original=Original(
            name="torchcrepe", difference=partial(crepe.difference, kind=kind), tolerance=1e-5
        ),
        is_costly=kind == "full",
    )


NETWORKS: tuple[RealNetwork, ...] = (
    _of_clothes("plain", "plain", trained.plain),
    _of_clothes("ResNet", "residual", trained.residual),
    RealNetwork(
        name="Basic Pitch",
        kind="plain, wide kernels",
        packages=(basic_pitch.PACKAGE, *data.PIANO),
        build=basic_pitch.basic_pitch,
        data=basic_pitch.notes,
        top=_note,
        metric=Metric(name="frames with the right note, %", value=basic_pitch.note_accuracy),
        original=Original(name="onnxruntime", difference=basic_pitch.difference, tolerance=1e-5),
    ),
    RealNetwork(
        name="upscaler",
        kind="residual dense",
        packages=(upscaler.PACKAGE,),
        build=partial(upscaler.upscaler, size=_UPSCALED_SIZE),
        data=_magnified,
        metric=Metric(name="PSNR, dB", value=upscaler.peak_signal_to_noise),
        original=Original(
            name="the published image, in levels of 256, which are rounded",
            difference=upscaler.difference,
            tolerance=0.501,
        ),
        loss=keras.losses.MeanSquaredError(),
    ),
    _crepe("tiny"),
    RealNetwork(
        name="EfficientNet-Lite0, emoji",
        kind="mobile",
        packages=(efficientnet_lite.WEIGHTS, efficientnet_lite.CODE, *data.EMOJI),
        build=trained.emoji_classifier,
        data=data.emoji,
        top=_largest,
        metric=_ACCURACY,
        original=_EFFICIENTNET,
        loss=CROSSENTROPY,
    ),
    _efficientnet(96),
    _efficientnet(224),
    _crepe("full"),
)
"""In the order of their cost."""
