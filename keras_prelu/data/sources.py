"""Data sets by name: files, folders, TensorFlow Datasets, and functions of the user.

Each kind has a reader in a module of its own; `cli.options.data` names the kinds to users.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.data.columns import ColumnRoles
from keras_prelu.data.containers import MEMORY_LIMIT, is_rows, rows_as_columns, split_label
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.digits import digit_images
from keras_prelu.data.folders import image_folder
from keras_prelu.data.functions import called_by_name, is_function_name
from keras_prelu.data.lazy import as_lazy, is_lazy, loaded
from keras_prelu.data.npz_source import npz_dataset
from keras_prelu.data.samples import Samples
from keras_prelu.data.stored import huggingface_dataset, tf_data_dataset
from keras_prelu.data.streams import gather_labelled, yields_batches
from keras_prelu.data.tables import TABLES, table_dataset
from keras_prelu.data.text_folders import text_folder
from keras_prelu.data.tfds_source import tfds_dataset
from keras_prelu.errors import DataError
from keras_prelu.utils.checks import check_number

__all__ = ["Dataset", "load"]

SOURCES = (
    "'digits', a file FILE.npz, FILE.csv or FILE.parquet, 'dir:FOLDER' of images, 'text:FOLDER',"
    " 'tfds:NAME[:SPLIT]', 'tfdata:FOLDER', 'hf:FOLDER', or 'module:function'"
)
_WITH_COLUMNS = ("FILE.npz", "FILE.csv", "FILE.parquet", "tfdata:FOLDER", "hf:FOLDER")


def load(
    source: str,
    *,
    input_shape: Sequence[int | None] | None = None,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    label: str | Sequence[str] = (),
    preprocess: str | None = None,
    scale: float | None = None,
    memory_limit: float = MEMORY_LIMIT,
) -> Dataset:
    """Load the data set that a name stands for.

    Args:
        source: Str. `"digits"`: the digits bundled with scikit-learn, in [0, 1]. `"FILE.npz"`:
            arrays `x` and, if labels are needed, `y`; or `x_train`, `y_train`, `x_test`, `y_test`.
            Instead of `x`, a model with several inputs has an array for each of them, by its name.
            `"tfds:NAME"` or `"tfds:NAME:SPLIT"`: a data set of TensorFlow Datasets with supervised
            keys; integer images are scaled to [0, 1] unless `scale` is given.
            `tfds:sklearn_digits` needs no network. `"dir:FOLDER"`: images in a subfolder for each
            class, or in `train` and `test` with such subfolders: pixels from 0 to 255, as
            `keras.utils.image_dataset_from_directory` reads them. `"text:FOLDER"`: `.txt` files in
            such subfolders. `"FILE.csv"`, `"FILE.tsv"`, `"FILE.parquet"` (also `"csv:FILE"` and so
            on): a row for each sample, read by pandas. `"tfdata:FOLDER"`: what
            `tf.data.Dataset.save` stored. `"hf:FOLDER"`: what `save_to_disk` of Hugging Face's
            `datasets` stored. `"module:function"`: the result of your function: x, a tuple (x, y)
            or (x, y, weights), `Samples`, a data set of batches, a pair of such tuples or data sets
            for training and testing, or a `Dataset`.
        input_shape: Tuple. Shape of one sample as the model takes it. The digits, (8, 8, 1), are
            also available as (8, 8) or (64,); images are resized. Defaults to None.
        input_names: Sequence of str. The names of the model's inputs, which are those of columns or
            arrays. Defaults to none: all columns but the labels are inputs.
        output_names: Sequence of str. The names of the model's outputs. Defaults to none.
        label: Str or sequence of str. The columns of a table, or the arrays of an `.npz` file, that
            hold the labels; several for several outputs. Text becomes the numbers of the classes in
            alphabetical order, those of the training samples. Defaults to "label" or "labels"
            (before these to "y" in `.npz` files), and else to those by `output_names`, if all of
            them are there.
        preprocess: Str, `"module:function"`. Function that takes the array (or structure of arrays)
            of samples and returns the prepared samples. It must treat each sample independently,
            since it gets samples on disk one batch at a time. Defaults to None.
        scale: Float. Factor that all samples are multiplied by, before `preprocess`, such as
            1 / 255. Defaults to None: samples are as the source has them.
        memory_limit: Float. Number of bytes. Larger `dir:` images, columns of Hugging
            Face, splits of TensorFlow Datasets
            whose files have random access (ArrayRecord), and arrays in `.npz` files that were saved
            without compression stay on disk and are read batch by batch. So do arrays of
            any size that `module:function` returns as `numpy.memmap` or data sets of h5py or zarr.
            Defaults to 1 GB.

    Raises:
        DataError: There is no such source, file or function, or its content is not as described
            above.

    Example:

    >>> digits = keras_prelu.data.load("digits")
    >>> digits.train.x.shape
    (1437, 8, 8, 1)
    """
    roles = ColumnRoles(
        labels=(label,) if isinstance(label, str) else tuple(label),
        inputs=tuple(input_names),
        outputs=tuple(output_names),
    )
    dataset = _load(source, input_shape, roles, memory_limit, is_scaled=scale is not None)
    if scale is not None:
        check_number("scale", scale)
        dataset = _mapped(dataset, lambda x: _scaled(x, scale))
    return dataset if preprocess is None else _preprocessed(dataset, preprocess)


def _load(
    source: str,
    input_shape: Sequence[int | None] | None,
    roles: ColumnRoles,
    memory_limit: float,
    *,
    is_scaled: bool,
) -> Dataset:
    prefix, _, rest = source.partition(":")
    suffix = f".{prefix}" if f".{prefix}" in TABLES else Path(source).suffix.lower()
    path = Path(rest if f".{prefix}" in TABLES else source)
    if suffix in TABLES:
        return table_dataset(source, path, suffix, roles)
    if source.endswith(".npz"):
        return npz_dataset(source, roles, memory_limit)
    if prefix == "hf":
        return huggingface_dataset(source, Path(rest), roles, memory_limit)
    if prefix == "tfdata":
        return tf_data_dataset(source, Path(rest), roles, input_shape)
    if roles.labels:
        raise DataError(
            f"The labels of '{source}' have no name. `label` (--label) is for"
            f" {', '.join(_WITH_COLUMNS)}."
        )
    if source == "digits":
        return _digits(input_shape)
    if prefix == "tfds":
        return tfds_dataset(source, as_stored=is_scaled, memory_limit=memory_limit)
    if prefix == "dir":
        images = image_folder(Path(rest), input_shape, memory_limit)
        return Dataset(source, images.train, images.test, images.classes)
    if prefix == "text":
        return text_folder(source, Path(rest))
    if is_function_name(source):
        return _returned(source, called_by_name(source), memory_limit)
    raise DataError(f"Unknown data source '{source}'. It must be {SOURCES}.")


def _digits(input_shape: Sequence[int | None] | None) -> Dataset:
    x_train, y_train, x_test, y_test = digit_images()
    shape = tuple(size for size in input_shape or () if size is not None)
    if math.prod(shape) == 64 and len(shape) == len(tuple(input_shape or ())):
        x_train, x_test = x_train.reshape(-1, *shape), x_test.reshape(-1, *shape)
    return Dataset("digits", Samples(x_train, y_train), Samples(x_test, y_test))


def _returned(source: str, value: Any, memory_limit: float) -> Dataset:
    """Return the result of a user's function as a data set."""
    if isinstance(value, Dataset):
        return value
    is_pair = isinstance(value, tuple) and len(value) == 2
    if is_pair and (
        isinstance(value[0], (tuple, Samples)) or yields_batches(value[0]) or is_rows(value[0])
    ):
        train, test = (_as_samples(source, part, memory_limit) for part in value)
        return Dataset(source, train, test)
    return Dataset(source, _as_samples(source, value, memory_limit))


def _as_samples(source: str, value: Any, memory_limit: float) -> Samples:
    if yields_batches(value):
        value = gather_labelled(value, f"batches of '{source}'")
    elif is_rows(value):
        value = split_label(rows_as_columns(value, f"rows of '{source}'", memory_limit))
    samples = (
        value
        if isinstance(value, Samples)
        else Samples(*value)
        if isinstance(value, tuple) and len(value) in (2, 3)
        else Samples(value)
    )
    try:
        counts = {
            len(array)
            for array in keras.tree.flatten(
                [part for part in (samples.x, samples.y, samples.weights) if part is not None]
            )
        }
    except TypeError:
        counts = set()
    if len(counts) != 1:
        raise DataError(
            f"'{source}' must return arrays x, or (x, y), of the same length. It returned"
            f" {type(value).__name__}."
        )
    return samples


def _preprocessed(dataset: Dataset, name: str) -> Dataset:
    parts = [
        None if part is None else replace(part, x=_prepared(name, part.x))
        for part in (dataset.train, dataset.test)
    ]
    for part in parts:
        counts = {
            len(labels)
            for labels in keras.tree.flatten([] if part is None else [part.y])
            if labels is not None
        }
        if part is not None and counts - {len(part)}:
            raise DataError(f"'{name}' returned {len(part)} samples for {max(counts)}.")
    return replace(dataset, train=parts[0] or dataset.train, test=parts[1])


def _mapped(dataset: Dataset, function: Callable[[Any], Any]) -> Dataset:
    """Return a data set with a function applied to each array of samples."""
    train, test = (
        None if part is None else replace(part, x=keras.tree.map_structure(function, part.x))
        for part in (dataset.train, dataset.test)
    )
    assert train is not None
    return replace(dataset, train=train, test=test)


def _scaled(x: Any, scale: float) -> Any:
    """Return an array times a factor, in float32."""
    if is_lazy(x):
        return as_lazy(x).map(lambda rows: _scaled(rows, scale))
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise DataError(f"Only numbers can be scaled, and the samples are {values.dtype}.")
    return (values * np.float64(scale)).astype("float32")


def _prepared(name: str, x: Any) -> Any:
    if is_lazy(x):
        return as_lazy(x).map(lambda rows: called_by_name(name, rows))
    return called_by_name(name, loaded(x))
