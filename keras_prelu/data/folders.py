"""Image folders with one subfolder for each class, read as Keras reads them.

Order, labels and pixels are those of `keras.utils.image_dataset_from_directory`. That function
yields images in one order only; this module reads single images when they are needed, by the same
steps: with TensorFlow if it is installed, and otherwise with Pillow and `keras.ops.image`, as Keras
does for Grain. The decoders of the two differ by a few levels of 255 for JPEG files.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_prelu.data.lazy import LazyArray
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = [
    "ImageFolder",
    "check_same_classes",
    "class_folders",
    "files_in_order",
    "image_folder",
]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_COLORS = {1: "grayscale", 3: "rgb", 4: "rgba"}


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        train: `Samples` for calibration and training: pixels from 0 to 255, in float32.
        test: `Samples` of the folder `test`, or None if there is none.
        classes: Tuple of str. The names of the classes, in the order of their numbers.
    """

    train: Samples
    test: Samples | None
    classes: tuple[str, ...]


def image_folder(
    folder: Path, input_shape: Sequence[int | None] | None, memory_limit: float = math.inf
) -> ImageFolder:
    """Return the training and test images of a folder, labelled with the numbers of their classes.

    Args:
        folder: `pathlib.Path` of a folder with a subfolder for each class, or with subfolders
            `train` and `test` of that form.
        input_shape: Tuple (height, width, channels) that images get when they are read, or None.
            Unknown sizes become 256 × 256, in color.
        memory_limit: Float. Number of bytes above which images are read batch by batch whenever
            they are needed, instead of once and all together.

    Returns:
        An `ImageFolder`.

    Raises:
        DataError: There is no such folder, it holds no images, its parts have other classes, or it
            can't be read. A damaged image is reported only when it is read.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    shape = tuple(input_shape or (None, None, 3))
    if len(shape) != 3 or shape[2] not in (None, *_COLORS):
        raise DataError(
            f"'{folder}' holds images, but the model takes samples of shape {shape}. Read your data"
            " with --data module:function."
        )
    if not (folder / "train").is_dir():
        return ImageFolder(
            train=_read(folder, shape, memory_limit),
            test=None,
            classes=tuple(class_folders(folder)),
        )
    classes = class_folders(folder / "train")
    test = None
    if (folder / "test").is_dir():
        check_same_classes(folder)
        test = _read(folder / "test", shape, memory_limit)
    return ImageFolder(
        train=_read(folder / "train", shape, memory_limit), test=test, classes=tuple(classes)
    )


def check_same_classes(folder: Path) -> None:
    """Check that the subfolders `train` and `test` of a folder have the same classes.

    Raises:
        DataError: They do not.
    """
    train, test = (class_folders(folder / part) for part in ("train", "test"))
    if train != test:
        raise DataError(
            f"'{folder}/train' and '{folder}/test' must have the same classes. They have"
            f" {', '.join(train)} and {', '.join(test)}."
        )


def class_folders(folder: Path) -> list[str]:
    """Return the names of the subfolders, in the order of the classes' numbers."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _read(folder: Path, shape: tuple[int | None, ...], memory_limit: float) -> Samples:
    height, width, channels = shape[0] or 256, shape[1] or 256, shape[2] or 3
    files = [
        (path, number)
        for number, name in enumerate(class_folders(folder))
        for path in files_in_order(folder / name, _SUFFIXES)
    ]
    if not files:
        raise DataError(
            f"'{folder}' has no images: it must have a subfolder for each class, with"
            f" {', '.join(_SUFFIXES)} files."
        )
    paths = [path for path, _ in files]
    decode = _decoder((height, width), channels)

    def read(rows: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor() as pool:  # Decoding releases the GIL.
            return np.stack(list(pool.map(lambda row: _image(paths[row], decode), rows)))

    images = LazyArray(read, (len(files), height, width, channels), np.float32)
    in_memory = len(files) * height * width * channels * 4 <= memory_limit
    return Samples(
        np.asarray(images) if in_memory else images,
        np.array([number for _, number in files], dtype=np.int32),
    )


def files_in_order(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files below a folder in Keras's order: folder by folder, links not followed."""
    return [
        Path(root) / name
        for root, _, names in sorted(os.walk(folder))
        for name in sorted(names)
        if name.lower().endswith(tuple(suffixes))
    ]


def _image(path: Path, decode: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        return decode(path)
    except ImportError as error:
        raise DataError(f"Images need Pillow: pip install pillow. ({reason_of(error)})") from error
    except Exception as error:  # TensorFlow and Pillow have exceptions of their own.
        raise DataError(f"The image '{path}' can't be read: {reason_of(error)}.") from error


def _decoder(size: tuple[int, int], channels: int) -> Callable[[Path], np.ndarray]:
    """Return the function that reads an image as float32 pixels from 0 to 255."""
    if importlib.util.find_spec("tensorflow") is None:
        return lambda path: _decoded_by_pillow(path, size, channels)
    return lambda path: _decoded_by_tensorflow(path, size, channels)


def _decoded_by_tensorflow(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    import tensorflow as tf

    with tf.device("cpu"):
        image = tf.image.decode_image(
            tf.io.read_file(str(path)), channels=channels, expand_animations=False
        )
        pixels: np.ndarray = tf.image.resize(image, size, method="bilinear").numpy()
    return pixels


def _decoded_by_pillow(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    image = keras.utils.img_to_array(
        keras.utils.load_img(path, color_mode=_COLORS[channels]),
        data_format="channels_last",
        dtype="float32",
    )
    with keras.device("cpu"):
        resized = keras.ops.image.resize(
            keras.ops.convert_to_tensor(image), size, data_format="channels_last"
        )
    return np.asarray(keras.ops.convert_to_numpy(resized), dtype=np.float32)
