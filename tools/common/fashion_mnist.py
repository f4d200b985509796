"""Fashion-MNIST, as Debian's package dataset-fashion-mnist has it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from keras_prelu.data import Samples
from tools.common.tasks import Split

__all__ = ["fashion_mnist"]


def fashion_mnist(folder: Path) -> Split:
    """Return 60,000 images of clothes of 28 × 28 pixels, in 0 to 1, and 10,000 for testing, with
    their classes."""
    return Split(train=_part(folder, "train"), test=_part(folder, "t10k"))


def _part(folder: Path, name: str) -> Samples:
    images = _idx(folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
    labels = _idx(folder / f"{name}-labels-idx1-ubyte.gz", 8)
    return Samples(images.astype("float32") / 255.0, labels.astype("int32"))


def _idx(path: Path, header: int) -> np.ndarray:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)
