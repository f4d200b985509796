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
    try:
        count = builder.info.splits[name].num_examples
        keys = _supervised_keys(builder)
        if keys is not None:
            source = _random_access(builder, name)
            if source is not None and count:
                samples = random_access_samples(
                    source, keys, f"{builder.name}:{name}", as_stored=as_stored
                )
                size = count * (samples.x[:1].nbytes + samples.y[:1].nbytes)
                if size > memory_limit:
                    return samples
                return Samples(np.asarray(samples.x), np.asarray(samples.y))
        return _in_memory(tfds, builder, name, as_stored)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"TensorFlow Datasets can't read split '{name}' of '{builder.name}':"
            f" {reason_of(error)}."
        ) from error


def _supervised_keys(builder: Any) -> tuple[str, str] | None:
    """Return the keys of x and y in a row, or None if x or y have several parts."""
    keys = builder.info.supervised_keys
    is_plain = keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    return (keys[0], keys[1]) if is_plain else None


def _random_access(builder: Any, name: str) -> Any:
    """Return the rows of a split by position, or None if its files have no random access."""
    try:
        return builder.as_data_source(split=name)
    except (NotImplementedError, ValueError, ImportError):
        return None


def _in_memory(tfds: Any, builder: Any, name: str, as_stored: bool) -> Samples:
    x, y = tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1, as_supervised=True))
    is_scaled = x.dtype == np.uint8 and not as_stored
    return Samples(x.astype("float32") / 255.0 if is_scaled else x, y)
