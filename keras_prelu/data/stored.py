"""Data sets that tf.data or Hugging Face stored in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_prelu.data.columns import (
    ColumnRoles,
    dataset_of_columns,
    label_names,
    used_columns,
)
from keras_prelu.data.containers import LABELS, rows_as_columns
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.samples import Samples
from keras_prelu.data.streams import gather_labelled
from keras_prelu.errors import DataError, reason_of

__all__ = ["huggingface_dataset", "tf_data_dataset"]

_BATCH = 256
_TESTS = ("test", "validation")


def huggingface_dataset(
    source: str, folder: Path, roles: ColumnRoles, memory_limit: float
) -> Dataset:
    """Return what `datasets.save_to_disk` stored: a data set, or one with splits.

    Args:
        source: Str. Name of the data set.
        folder: `pathlib.Path`.
        roles: `ColumnRoles`.
        memory_limit: Float. Number of bytes above which columns stay on disk.

    Raises:
        DataError: There is no such folder, it holds no data set, or `datasets` is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"'{source}' needs datasets: pip install 'keras-prelu[data]'.") from error
    try:
        stored = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise DataError(
            f"'{folder}' is no data set that save_to_disk stored: {reason_of(error)}."
        ) from error
    splits: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {"train": stored}
    if "train" not in splits:
        raise DataError(f"'{source}' has no split 'train'. It has: {', '.join(splits)}.")
    test = next((splits[name] for name in _TESTS if name in splits), None)
    columns = [
        rows_as_columns(
            part.select_columns(list(used_columns(source, part.column_names, roles))),
            f"{what} of '{source}'",
            memory_limit,
        )
        for part, what in ((splits["train"], "rows"), (test, "test rows"))
        if part is not None
    ]
    return dataset_of_columns(
        source,
        columns[0],
        columns[1] if test is not None else None,
        roles,
        _class_names(splits["train"], roles),
        splits["train"].column_names,
    )


def tf_data_dataset(
    source: str, folder: Path, roles: ColumnRoles, input_shape: Sequence[int | None] | None
) -> Dataset:
    """Return what `tf.data.Dataset.save` stored: one data set, or one in `train` and in `test`.

    Args:
        source: Str. Name of the data set.
        folder: `pathlib.Path`.
        roles: `ColumnRoles`.
        input_shape: Tuple. Shape of one sample as the model takes it, or None.

    Raises:
        DataError: There is no such folder, it holds no data set, or TensorFlow is not installed.
    """
    if not folder.is_dir():
        raise DataError(f"No such folder: '{folder}'.")
    has_parts = (folder / "train").is_dir()
    train = _elements(source, folder / "train" if has_parts else folder, input_shape)
    test = None
    if has_parts and (folder / "test").is_dir():
        test = _elements(source, folder / "test", input_shape)
    if isinstance(train.x, Mapping) and train.y is None:
        return dataset_of_columns(source, train.x, None if test is None else test.x, roles)
    if roles.labels:
        raise DataError(f"'{source}' holds pairs (x, y), of which y are the labels already.")
    return Dataset(source, train, test)


def _class_names(rows: Any, roles: ColumnRoles) -> tuple[str, ...]:
    """Return the names of the classes if the only column of labels has them."""
    names = label_names(rows.features, roles, LABELS)
    feature = rows.features.get(names[0]) if len(names) == 1 else None
    return tuple(getattr(feature, "names", None) or ())


def _elements(source: str, folder: Path, input_shape: Sequence[int | None] | None) -> Samples:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DataError(f"'{source}' needs TensorFlow: pip install tensorflow.") from error
    try:
        stored = tf.data.Dataset.load(str(folder))
    except Exception as error:
        raise DataError(
            f"'{folder}' is no data set that tf.data.Dataset.save stored: {reason_of(error)}."
        ) from error
    if _is_unbatched(stored.element_spec, input_shape):
        stored = stored.batch(_BATCH)
    return Samples(*gather_labelled(stored, f"elements of '{source}'"))


def _is_unbatched(spec: Any, input_shape: Sequence[int | None] | None) -> bool:
    """Return whether elements are single samples: a part is a scalar, or x is as a model takes."""
    leaves = keras.tree.flatten(spec)
    if any(leaf.shape.rank == 0 for leaf in leaves):
        return True
    x = keras.tree.flatten(spec[0] if isinstance(spec, tuple) else spec)
    return len(x) == 1 and input_shape is not None and x[0].shape.rank == len(input_shape)
