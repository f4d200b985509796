"""Data sets of TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.random_access import random_access_samples
from keras_prelu.data.samples import Samples
from keras_prelu.data.tfds_rows import row_reader
from keras_prelu.errors import DataError, reason_of

__all__ = ["tfds_dataset"]


def tfds_dataset(source: str, *, as_stored: bool, memory_limit: float) -> Dataset:
    """Return a data set of TensorFlow Datasets.

    Args:
        source: Str. `"tfds:NAME"` or `"tfds:NAME:SPLIT"`.
        as_stored: Bool. Whether integer images keep their values; otherwise they are divided by
            255.
        memory_limit: Float. Number of bytes above which a split is read row by row when rows are
            needed, if its files have random access.

    Raises:
        DataError: TensorFlow Datasets is not installed, or can't provide the data set.
    """
    _, name, *rest = source.split(":", 2)
    if not name:
        raise DataError(f"'{source}' names no data set. Write tfds:NAME or tfds:NAME:SPLIT.")
    try:
        import tensorflow_datasets as tfds

        import keras_prelu.data.digits_tfds  # noqa: F401  # Registers the bundled digits.
    except (ImportError, AttributeError) as error:
        # Without TensorFlow, tensorflow_datasets can be imported but is empty.
        raise DataError(
            f"'{source}' needs TensorFlow and tensorflow-datasets: pip install tensorflow"
            " tensorflow-datasets."
        ) from error
    try:
        # TFDS prints while it prepares data, which must not mix with JSON on standard output.
        with contextlib.redirect_stdout(sys.stderr):
            builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
            builder.download_and_prepare()
    except Exception as error:
        raise DataError(
            f"TensorFlow Datasets can't provide '{name}': {reason_of(error)}."
        ) from error
    if rest:
        return Dataset(source, _split(tfds, builder, rest[0], as_stored, memory_limit))
    if "train" not in builder.info.splits:
        raise DataError(
            f"'{source}' has no split 'train'. Name one of: {', '.join(builder.info.splits)}."
        )
    test = next((split for split in ("test", "validation") if split in builder.info.splits), None)
    return Dataset(
        source,
        _split(tfds, builder, "train", as_stored, memory_limit),
        _split(tfds, builder, test, as_stored, memory_limit) if test else None,
    )


def _split(tfds: Any, builder: Any, name: str, as_stored: bool, memory_limit: float) -> Samples:
    """Return the samples of a split, on disk if they are larger than the limit."""
    try:
        is_array_record = builder.info.file_format.value == "array_record"
        samples = _on_disk(builder, name, as_stored, memory_limit)
        if samples is None or (not is_array_record and _size(samples) <= memory_limit):
            return _in_memory(tfds, builder, name, as_stored)
        if _size(samples) <= memory_limit:
            return Samples(np.asarray(samples.x), np.asarray(samples.y))
        return samples
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"TensorFlow Datasets can't read split '{name}' of '{builder.name}':"
            f" {reason_of(error)}."
        ) from error


def _on_disk(builder: Any, name: str, as_stored: bool, memory_limit: float) -> Samples | None:
    """Return samples that are read when they are needed, or None if that can't be done."""
    split, keys = builder.info.splits[name], _supervised_keys(builder)
    count = split.num_examples
    if keys is None or not count:
        return None
    try:
        read_rows = row_reader(builder, name, keys)
    except ImportError as error:
        if split.num_bytes > memory_limit:
            raise DataError(
                f"Split '{name}' of '{builder.name}' does not fit into memory, and reading it by"
                f" row needs {error.name}: pip install 'keras-prelu[data]'."
            ) from error
        return None
    if read_rows is None:
        return None
    return random_access_samples(read_rows, count, f"{builder.name}:{name}", as_stored=as_stored)


def _size(samples: Samples) -> int:
    return len(samples) * int(samples.x[:1].nbytes + samples.y[:1].nbytes)


def _supervised_keys(builder: Any) -> tuple[str, str] | None:
    """Return the keys of x and y in a row, or None if x or y have several parts."""
    keys = builder.info.supervised_keys
    is_plain = keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return (keys[0], keys[1]) if is_plain else None


def _in_memory(tfds: Any, builder: Any, name: str, as_stored: bool) -> Samples:
    x, y = tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1, as_supervised=True))
    is_scaled = x.dtype == np.uint8 and not as_stored
    return Samples(x.astype("float32") / 255.0 if is_scaled else x, y)
