"""Images of ten classes that a network can learn, generated from a seed."""

from __future__ import annotations

import numpy as np

CLASSES = 10
_COARSE, _NOISES = 8, 64


def images(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (count, size, size, 3) in float32 and their labels: a pattern for each class,
    faint and shifted, under noise.

    The patterns do not depend on the seed; labels, shifts and noise do.
    """
    patterns = _enlarged(np.random.default_rng(0).normal(size=(CLASSES, _COARSE, _COARSE, 3)), size)
    rng = np.random.default_rng([seed, 1])
    noises = rng.standard_normal((_NOISES, size, size, 3), dtype=np.float32)
    labels = rng.integers(0, CLASSES, count)
    shifts, chosen = rng.integers(0, size, (count, 2)), rng.integers(0, _NOISES, count)
    found = np.empty((count, size, size, 3), dtype=np.float32)
    for number, (label, shift, noise) in enumerate(zip(labels, shifts, chosen, strict=True)):
        # A quarter of the image at most, so that patterns of different classes stay apart.
        found[number] = 0.5 * np.roll(patterns[label], tuple(shift // 4), axis=(0, 1)) + np.roll(
            noises[noise], tuple(shift), axis=(0, 1)
        )
    return found, labels.astype("int32")


def _enlarged(coarse: np.ndarray, size: int) -> np.ndarray:
    factor = -(-size // _COARSE)
    return coarse.repeat(factor, axis=1).repeat(factor, axis=2)[:, :size, :size].astype(np.float32)
