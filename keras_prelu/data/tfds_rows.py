"""Rows of TensorFlow Datasets by position, from the files of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_prelu.data.random_access import RowReader
from keras_prelu.data.tfrecords import Part, TFRecords

__all__ = ["row_reader"]

_PARALLEL = 32
"""The number of rows that are decoded at the same time, if there are as many processors."""


def row_reader(builder: Any, name: str, keys: tuple[str, str]) -> RowReader | None:
    """Return a reader of the rows of a split, or None if its files have no random access.

    TensorFlow decodes the rows, as it does those of `as_dataset`: to the same pixels, and several
    of a batch at the same time.

    Args:
        builder: `tfds.core.DatasetBuilder` whose files are written.
        name: Str. Name of the split, also a part of one.
        keys: Pair of str. The keys of x and y in a row.

    Raises:
        DataError: A file is damaged.
        ImportError: A package that reads the files is not installed.
    """
    import tensorflow as tf

    read_records = _record_reader(builder, name)
    if read_records is None:
        return None
    features = builder.info.features

    def decoded(record: Any) -> tuple[Any, ...]:
        row = features.deserialize_example(record)
        return tuple(row[key] for key in keys)

    def decode_in_parallel(batch: Any) -> Any:
        types = tuple(tf.as_dtype(features.dtype[key]) for key in keys)
        return tf.map_fn(decoded, batch, fn_output_signature=types, parallel_iterations=_PARALLEL)

    decoded_batch = tf.function(
        decode_in_parallel, input_signature=[tf.TensorSpec([None], tf.string)]
    )

    def read_rows(positions: list[int]) -> tuple[np.ndarray, np.ndarray]:
        x, y = (_native(part) for part in decoded_batch(read_records(positions)))
        return x, y

    return read_rows


def _record_reader(builder: Any, name: str) -> Callable[[list[int]], Any] | None:
    """Return a function from positions to the records there, as bytes."""
    file_format = builder.info.file_format.value
    if file_format == "array_record":
        source = builder.as_data_source(split=name).data_source
        read: Callable[[list[int]], Any] = source.__getitems__
        return read
    instructions = builder.info.splits[name].file_instructions
    parts = [
        Part(
            path=Path(each.filename),
            skip=each.skip,
            count=each.examples_in_shard - each.skip if each.take < 0 else each.take,
        )
        for each in instructions
    ]
    if file_format != "tfrecord" or not all(part.path.is_file() for part in parts):
        return None
    return TFRecords(parts).read


def _native(tensor: Any) -> np.ndarray:
    """Return a tensor as an array, of strings as NumPy's strings."""
    array = np.asarray(tensor.numpy())
    return array.astype(bytes) if array.dtype == object else array
