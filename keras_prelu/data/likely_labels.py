"""Which columns of a data set are likely its labels, for messages that ask for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.lazy import is_lazy

__all__ = ["likely_labels", "row_numbers"]

_NAMES = {
    *("label", "labels", "target", "targets", "class", "classes", "category", "outcome", "truth"),
    *("response", "diagnosis", "species", "y"),
}
_MOST_CLASSES = 100
_SAMPLES_PER_CLASS = 5
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def likely_labels(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of columns that may hold labels, the likeliest first.

    In favor of a column are its name, that it repeats a few texts or whole numbers, that it is no
    input, and that it is the last one.

    Args:
        dataset: `Dataset` without labels.
    """
    arrays = _arrays(dataset)
    if len(dataset.columns) < 2:
        return ()
    points = {
        name: 2 * _is_named_so(name)
        + 2 * _holds_classes(arrays.get(name))
        + (name not in arrays)
        + (name == dataset.columns[-1])
        for name in dataset.columns
        if not (name == "x" or _counts_rows(name, arrays.get(name)))
    }
    likely = [name for name, count in points.items() if count]
    return tuple(sorted(likely, key=lambda name: -points[name]))


def row_numbers(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of columns that only count the rows, as pandas writes its index."""
    return tuple(name for name, array in _arrays(dataset).items() if _counts_rows(name, array))


def _arrays(dataset: Dataset) -> Mapping[str, Any]:
    """Return the columns that are inputs, as far as they are known one by one."""
    x = dataset.train.x
    if isinstance(x, Mapping):
        return x
    inputs = dataset.inputs
    if is_lazy(x) or np.shape(x)[1:] != (len(inputs),):
        return {}
    return dict(zip(inputs, np.asarray(x).T, strict=True))


def _is_named_so(name: str) -> bool:
    return bool({word.lower() for word in _WORDS.findall(name)} & _NAMES)


def _holds_classes(values: Any) -> bool:
    """Return whether values are texts or whole numbers of which each is there several times."""
    if not _is_column(values):
        return False
    array = np.asarray(values)
    is_whole = array.dtype.kind in "biuSU" or bool(np.all(array == np.round(array)))
    return is_whole and len(np.unique(array)) <= min(
        _MOST_CLASSES, len(array) // _SAMPLES_PER_CLASS
    )


def _counts_rows(name: str, values: Any) -> bool:
    if not _is_column(values) or np.asarray(values).dtype.kind not in "iuf":
        return False
    array = np.asarray(values)
    counts = len(array) > 1 and array[0] in (0, 1) and bool(np.all(np.diff(array) == 1))
    return counts or (name.lower() in ("id", "index") and len(np.unique(array)) == len(array))


def _is_column(values: Any) -> bool:
    """Return whether values are one number or text for each sample, in memory."""
    is_array = values is not None and not is_lazy(values) and not keras.ops.is_tensor(values)
    return is_array and np.ndim(values) == 1 and np.asarray(values).dtype.kind in "biufSU"
