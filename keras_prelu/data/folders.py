"""Image folders: one subfolder for each class, as `keras.utils.image_dataset_from_directory` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["image_folder"]

_COLORS = {1: "grayscale", 3: "rgb", 4: "rgba"}


def image_folder(folder: Path, input_shape: Sequence[int | None] | None) -> tuple[Samples, Samples | None]:
    """The images of a folder in [0, 1] with the number of their class, and those to test with.

    Args:
        folder: It has a subfolder for each class; or subfolders `train` and `test` that have.
        input_shape: (height, width, channels) that images are read at. Unknown sizes are 256 × 256, in color.

    Raises:
        DataError: There is no such folder, it holds no images, or they can't be read.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    shape = tuple(input_shape or (None, None, 3))
    if len(shape) != 3 or shape[2] not in _COLORS:
        raise DataError(f"'{folder}' holds images, and the model takes {shape}. Read your data with --data module:function.")
    if (folder / "train").is_dir():
        test = _read(folder / "test", shape) if (folder / "test").is_dir() else None
        return _read(folder / "train", shape), test
    return _read(folder, shape), None


def _read(folder: Path, shape: tuple[int | None, ...]) -> Samples:
    height, width, channels = shape
    try:
        batches = keras.utils.image_dataset_from_directory(
            folder, image_size=(height or 256, width or 256), color_mode=_COLORS[channels or 3], shuffle=False, verbose=False
        )
        pairs = [(np.asarray(x, dtype="float32") / 255.0, np.asarray(y)) for x, y in batches]
    except Exception as error:  # TensorFlow's own for damaged images, ValueError for empty folders, ImportError without TensorFlow
        raise DataError(f"The images in '{folder}' can't be read: {reason_of(error)}.") from error
    return Samples(np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]))
