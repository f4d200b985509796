"""Image folders with one subfolder for each class.

Order and labels are those of `keras.utils.image_dataset_from_directory`. That function needs
TensorFlow and reads all images; this module reads single images with `keras.utils.load_img` when
they are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from keras_prelu.data.lazy import LazyArray
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["image_folder"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_COLORS = {1: "grayscale", 3: "rgb", 4: "rgba"}


def image_folder(
    folder: Path, input_shape: Sequence[int | None] | None, memory_limit: float = math.inf
) -> tuple[Samples, Samples | None]:
    """Return the training and test images of a folder, labelled with the numbers of their classes.

    Args:
        folder: `pathlib.Path` of a folder with a subfolder for each class, or with subfolders
            `train` and `test` of that form.
        input_shape: Tuple (height, width, channels) that images get when they are read, or None.
            Unknown sizes become 256 × 256, in color.
        memory_limit: Float. Number of bytes above which images are read batch by batch whenever
            they are needed, instead of once and all together.

    Returns:
        Training samples in [0, 1], and test samples, or None if there is no folder `test`.

    Raises:
        DataError: There is no such folder, it holds no images, or they can't be read. A damaged
            image is reported only when it is read.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    shape = tuple(input_shape or (None, None, 3))
    if len(shape) != 3 or shape[2] not in _COLORS:
        raise DataError(
            f"'{folder}' holds images, but the model takes samples of shape {shape}. Read your data"
            " with --data module:function."
        )
    if (folder / "train").is_dir():
        test = _read(folder / "test", shape, memory_limit) if (folder / "test").is_dir() else None
        return _read(folder / "train", shape, memory_limit), test
    return _read(folder, shape, memory_limit), None


def _read(folder: Path, shape: tuple[int | None, ...], memory_limit: float) -> Samples:
    height, width, channels = shape[0] or 256, shape[1] or 256, shape[2] or 3
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [
        (path, number)
        for number, directory in enumerate(classes)
        for path in sorted(directory.rglob("*"))
        if _is_image(path)
    ]
    if not files:
        raise DataError(
            f"'{folder}' has no images: it must have a subfolder for each class, with"
            f" {', '.join(_SUFFIXES)} files."
        )
    paths = [path for path, _ in files]

    def read(rows: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor() as pool:  # Decoding releases the GIL.
            return np.stack(
                list(pool.map(lambda row: _image(paths[row], (height, width), channels), rows))
            )

    images = LazyArray(read, (len(files), height, width, channels), np.float32)
    in_memory = len(files) * height * width * channels * 4 <= memory_limit
    return Samples(
        np.asarray(images) if in_memory else images, np.array([number for _, number in files])
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def _image(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    try:
        image = keras.utils.load_img(
            path, color_mode=_COLORS[channels], target_size=size, interpolation="bilinear"
        )
    except ImportError as error:
        raise DataError(f"Images need Pillow: pip install pillow. ({reason_of(error)})") from error
    except Exception as error:  # Pillow has exceptions of its own for damaged files.
        raise DataError(f"The image '{path}' can't be read: {reason_of(error)}.") from error
    array: np.ndarray = keras.utils.img_to_array(image, dtype="float32") / np.float32(255.0)
    return array
