"""The digits bundled with scikit-learn.

They are 1,797 grey images of 8 × 8 pixels in 10 classes: 1,437 for training, 360 for testing.
"""

from __future__ import annotations

import numpy as np

__all__ = ["TEST_SIZE", "digit_images"]

TEST_SIZE = 360
# Part of the data set's definition: a model trained on one split must be tested on its complement.
_SPLIT_SEED = 0


def digit_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train images, train labels, test images and test labels of a stratified split.

    Images are float32 of shape (n, 8, 8, 1) in [0, 1], labels int64.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits.target, test_size=TEST_SIZE, random_state=_SPLIT_SEED, stratify=digits.target
    )
    return x_train, y_train, x_test, y_test
