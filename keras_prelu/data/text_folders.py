"""Text files with one subfolder for each class, as Keras's `text_dataset_from_directory` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.folders import check_same_classes, class_folders, files_in_order
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["text_folder"]

_SUFFIX = ".txt"


def text_folder(source: str, folder: Path) -> Dataset:
    """Return the texts of a folder, labelled with the numbers of their classes.

    Args:
        source: Str. Name of the data set.
        folder: `pathlib.Path` of a folder with a subfolder of `.txt` files in UTF-8 for each class,
            or with subfolders `train` and `test` of that form.

    Raises:
        DataError: There is no such folder, it holds no texts, its parts have other classes, or a
            file can't be read.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    if not (folder / "train").is_dir():
        return Dataset(source, _read(folder), None, tuple(class_folders(folder)))
    test = None
    if (folder / "test").is_dir():
        check_same_classes(folder)
        test = _read(folder / "test")
    classes = tuple(class_folders(folder / "train"))
    return Dataset(source, _read(folder / "train"), test, classes)


def _read(folder: Path) -> Samples:
    files = [
        (path, number)
        for number, name in enumerate(class_folders(folder))
        for path in files_in_order(folder / name, (_SUFFIX,))
    ]
    if not files:
        raise DataError(
            f"'{folder}' has no texts: it must have a subfolder for each class, with {_SUFFIX}"
            " files."
        )
    texts = [_text(path) for path, _ in files]
    return Samples(np.array(texts), np.array([number for _, number in files], dtype=np.int32))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The text '{path}' can't be read: {reason_of(error)}.") from error
