"""Data sets of TensorFlow Datasets."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, reason_of

__all__ = ["tfds_dataset"]


def tfds_dataset(source: str, *, as_stored: bool) -> Dataset:
    """Return a data set of TensorFlow Datasets.

    Args:
        source: Str. `"tfds:NAME"` or `"tfds:NAME:SPLIT"`.
        as_stored: Bool. Whether integer images keep their values; otherwise they are divided by
            255.

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
        return Dataset(source, _split(tfds, builder, rest[0], as_stored))
    if "train" not in builder.info.splits:
        raise DataError(
            f"'{source}' has no split 'train'. Name one of: {', '.join(builder.info.splits)}."
        )
    test = next((split for split in ("test", "validation") if split in builder.info.splits), None)
    return Dataset(
        source,
        _split(tfds, builder, "train", as_stored),
        _split(tfds, builder, test, as_stored) if test else None,
    )


def _split(tfds: Any, builder: Any, name: str, as_stored: bool) -> Samples:
    try:
        x, y = tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1, as_supervised=True))
    except Exception as error:
        raise DataError(
            f"TensorFlow Datasets can't read split '{name}' of '{builder.name}':"
            f" {reason_of(error)}."
        ) from error
    is_scaled = x.dtype == np.uint8 and not as_stored
    return Samples(x.astype("float32") / 255.0 if is_scaled else x, y)
