"""The transfers: a network that was trained on other data, and the data that it is to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.data import Samples
from tools.common.packages import Package, Packages
from tools.common.tasks import Split
from tools.fidelity.real import crepe, data, efficientnet_lite, trained

__all__ = ["TASKS", "TransferTask"]

_IMAGE = 64
_LOWER_END = "blocks_4_add"
"""The layer after which the upper 11 of EfficientNet's 16 blocks begin."""
_LOWEST_NOTE, _NOTES = 24, 71
"""MIDI numbers of the notes between 33 and 1,900 Hz."""


@dataclass(frozen=True, kw_only=True)
class TransferTask:
    """A trained network, and new data.

    Attributes:
        name: Name in tables.
        packages: What is fetched.
        features: Returns the network without its head.
        samples: Returns the new data with classes.
        classes: Number of classes.
        normalized: Whether the network has a BatchNormalization.
        tested: Number of test samples that are used.
    """

    name: str
    packages: tuple[Package, ...]
    features: Callable[[Packages], keras.Model]
    samples: Callable[[Packages], Split]
    classes: int
    normalized: bool
    tested: int


def _without_head(model: keras.Model) -> keras.Model:
    return keras.Model(model.inputs, model.layers[-2].output, name=model.name)


def _lower_blocks_done(packages: Packages) -> Split:
    """Return emoji as the output of the network's lower blocks, which do not learn."""
    backbone, split = _emoji_backbone(packages), data.emoji(packages)
    lower = keras.Model(backbone.inputs, backbone.get_layer(_LOWER_END).output)

    def through(samples: Samples) -> Samples:
        return Samples(lower.predict(samples.x, batch_size=128, verbose=0), samples.y)

    return Split(train=through(split.train), test=through(split.test))


def _upper_blocks(packages: Packages) -> keras.Model:
    backbone = _emoji_backbone(packages)
    lower_end = backbone.get_layer(_LOWER_END).output
    return keras.Model(lower_end, backbone.output, name=backbone.name)


def _emoji_backbone(packages: Packages) -> keras.Model:
    return efficientnet_lite.backbone(packages, _IMAGE)


def _piano(packages: Packages) -> Split:
    split = crepe.notes(packages)
    return Split(train=_with_note_numbers(split.train), test=_with_note_numbers(split.test))


def _with_note_numbers(samples: Samples) -> Samples:
    """Return frames with the numbers of their notes, in a random order that is always the same."""
    midi = 69 + 12 * np.log2(10 * 2 ** (np.asarray(samples.y, "float64") / 1200) / 440)
    order = np.random.default_rng(0).permutation(len(midi))
    notes = (np.rint(midi) - _LOWEST_NOTE).astype("int32")
    return Samples(samples.x[order], notes[order])


def _between_images(
    name: str,
    trained_network: Callable[[Packages], keras.Model],
    samples: Callable[[Packages], Split],
) -> TransferTask:
    return TransferTask(
        name=f"plain network, {name}",
        packages=(*data.FASHION_MNIST, *data.DIGITS),
        features=lambda packages: _without_head(trained_network(packages)),
        samples=samples,
        classes=10,
        normalized=False,
        tested=2_000,
    )


def _to_emoji(
    name: str,
    features: Callable[[Packages], keras.Model],
    samples: Callable[[Packages], Split],
) -> TransferTask:
    return TransferTask(
        name=f"{name}, ImageNet to emoji",
        packages=(efficientnet_lite.WEIGHTS, *data.EMOJI),
        features=features,
        samples=samples,
        classes=10,
        normalized=True,
        tested=1_000,
    )


TASKS = (
    _between_images("clothes to digits", trained.plain, data.handwritten_digits),
    _between_images("digits to clothes", trained.plain_on_digits, data.clothes),
    TransferTask(
        name="CREPE tiny, pitches to piano notes",
        packages=(crepe.PACKAGE, *data.PIANO),
        features=lambda packages: _without_head(crepe.crepe(packages, "tiny")),
        samples=_piano,
        classes=_NOTES,
        normalized=True,
        tested=1_000,
    ),
    _to_emoji("EfficientNet-Lite0, upper blocks", _upper_blocks, _lower_blocks_done),
    _to_emoji("EfficientNet-Lite0", _emoji_backbone, data.emoji),
)
"""In the order of their cost."""
