"""Data sets in `.npz` files: the samples, the inputs and the labels among their arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_prelu.data.columns import ColumnRoles, label_names, weights_name
from keras_prelu.data.containers import LABELS
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.npz import read_arrays
from keras_prelu.data.samples import Samples
from keras_prelu.data.text_labels import with_class_numbers
from keras_prelu.errors import DataError, reason_of
from keras_prelu.utils.suggestions import did_you_mean, few_of, similar_file

__all__ = ["npz_dataset"]

_LABELS = ("y", *LABELS)


def npz_dataset(source: str, roles: ColumnRoles, memory_limit: float) -> Dataset:
    """Return the data set of an `.npz` file.

    Args:
        source: Str. Path of the file.
        roles: `ColumnRoles`. If no array is named as labels, it is "y", "label" or "labels", or
            else those by the names of the model's outputs. Text becomes the numbers of the classes.
            An array "sample_weight" holds the weights of the samples.
        memory_limit: Float. As in `read_arrays`.

    Raises:
        DataError: There is no such file, or its arrays are not those of samples.
    """
    if not Path(source).is_file():
        raise DataError(f"No such file: '{source}'.{similar_file(Path(source))}")
    try:
        arrays = read_arrays(Path(source), memory_limit)
    except Exception as error:  # zipfile, numpy and zlib have exceptions of their own.
        raise DataError(
            f"'{source}' is not a readable .npz archive of plain arrays: {reason_of(error)}."
        ) from error
    train_arrays, test_arrays = _parts(arrays)
    return with_class_numbers(
        Dataset(
            source,
            _samples(source, train_arrays, roles),
            None if test_arrays is None else _samples(source, test_arrays, roles),
            columns=tuple(train_arrays),
            labels=label_names(train_arrays, roles, _LABELS),
            weights=weights_name(train_arrays, roles),
        )
    )


def _parts(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the arrays for training and those held out, by their names without `_train`."""
    train = {name for name in arrays if name.endswith("_train")}
    test = {name.removesuffix("_test") for name in arrays if name.endswith("_test")}
    if "x" in arrays or not train or not {f"{name}_train" for name in test} <= train:
        return arrays, None
    parts = [
        {name.removesuffix(end): array for name, array in arrays.items() if name.endswith(end)}
        for end in ("_train", "_test")
    ]
    return parts[0], parts[1] or None


def _samples(source: str, arrays: dict[str, Any], roles: ColumnRoles) -> Samples:
    names, weights = label_names(arrays, roles, _LABELS), weights_name(arrays, roles)
    missing = next((name for name in names if name not in arrays), None)
    if missing is not None:
        raise DataError(
            f"'{source}' has no array '{missing}'.{did_you_mean(missing, arrays)} It has:"
            f" {few_of(arrays)}."
        )
    inputs = {name: array for name, array in arrays.items() if name not in (*names, weights)}
    # Beside labels, a single array needs no name.
    only = "x" if "x" in inputs else next(iter(inputs)) if names and len(inputs) == 1 else None
    x: Any = inputs if only is None else inputs[only]
    arrays_of_x = list(inputs.values()) if only is None else [x]
    lengths = {len(array) if array.ndim else 0 for array in arrays_of_x}
    if only is None and (len(inputs) < 2 or len(lengths) != 1 or 0 in lengths):
        raise DataError(
            f"'{source}' has no array 'x' (nor 'x_train', nor arrays of the same length by the"
            " names of the model's inputs). It has:"
            f" {few_of(arrays) or 'nothing'}."
        )
    count = lengths.pop()
    first = only or next(iter(inputs))
    y = {name: _checked_labels(source, name, arrays[name], first, count) for name in names}
    return Samples(x, y if len(y) > 1 else next(iter(y.values()), None), arrays.get(weights))


def _checked_labels(source: str, name: str, labels: Any, first: str, count: int) -> Any:
    if not labels.ndim or len(labels) != count:
        raise DataError(
            f"'{source}' has {count} samples in '{first}' and"
            f" {len(labels) if labels.ndim else 'no list of'} labels in '{name}'."
        )
    if labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        raise DataError(f"The labels '{name}' in '{source}' hold NaN or infinite values.")
    return labels
