"""Data sets by name: `digits`, `FILE.npz`, `dir:FOLDER`, `tfds:NAME[:SPLIT]`, `module:function`."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from keras_prelu.data.containers import is_rows, rows_as_columns, split_label
from keras_prelu.data.digits import digit_images
from keras_prelu.data.folders import image_folder
from keras_prelu.data.functions import is_function_name, named_function
from keras_prelu.data.lazy import as_lazy, is_lazy, loaded
from keras_prelu.data.npz import read_arrays
from keras_prelu.data.samples import Samples
from keras_prelu.data.streams import gather_labelled, yields_batches
from keras_prelu.errors import DataError, reason_of
from keras_prelu.utils.checks import check_number

__all__ = ["Dataset", "load", "split"]

SomeSamples = TypeVar("SomeSamples", bound=Samples)

MEMORY_LIMIT = 1e9
SOURCES = "'digits', a file FILE.npz, 'dir:FOLDER', 'tfds:NAME[:SPLIT]', or 'module:function'"


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Str. Name that the user passed.
        train: `Samples` for calibration and training.
        test: `Samples` held out from `train`, or None if the source has none.
        classes: Tuple of str. The names of the classes, in the order of their numbers; empty if
            they are not known.
    """

    name: str
    train: Samples
    test: Samples | None = None
    classes: tuple[str, ...] = ()


def load(
    source: str,
    *,
    input_shape: Sequence[int | None] | None = None,
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
            `keras.utils.image_dataset_from_directory` reads them. `"module:function"`: the result
            of your function: x, a pair (x, y), `Samples`, a data set of batches, a pair of such
            pairs or data sets for training and testing, or a `Dataset`.
        input_shape: Tuple. Shape of one sample as the model takes it. The digits, (8, 8, 1), are
            also available as (8, 8) or (64,); images are resized. Defaults to None.
        preprocess: Str, `"module:function"`. Function that takes the array (or structure of arrays)
            of samples and returns the prepared samples. It must treat each sample independently,
            since it gets samples on disk one batch at a time. Defaults to None.
        scale: Float. Factor that all samples are multiplied by, before `preprocess`, such as
            1 / 255. Defaults to None: samples are as the source has them.
        memory_limit: Float. Number of bytes. Larger `dir:` images and arrays in `.npz` files that
            were saved without compression stay on disk and are read batch by batch. So do arrays of
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
    dataset = _load(source, input_shape, memory_limit, is_scaled=scale is not None)
    if scale is not None:
        check_number("scale", scale)
        dataset = _mapped(dataset, lambda x: _scaled(x, scale))
    return dataset if preprocess is None else _preprocessed(dataset, preprocess)


def _load(
    source: str,
    input_shape: Sequence[int | None] | None,
    memory_limit: float,
    *,
    is_scaled: bool,
) -> Dataset:
    if source == "digits":
        return _digits(input_shape)
    if source.startswith("tfds:"):
        return _tfds(source, as_stored=is_scaled)
    if source.startswith("dir:"):
        images = image_folder(Path(source.removeprefix("dir:")), input_shape, memory_limit)
        return Dataset(source, images.train, images.test, images.classes)
    if source.endswith(".npz"):
        return _npz(source, memory_limit)
    if is_function_name(source):
        return _returned(source, _called(source))
    raise DataError(f"Unknown data source '{source}'. It must be {SOURCES}.")


def split(samples: SomeSamples, fraction: float, seed: int) -> tuple[SomeSamples, SomeSamples]:
    """Split off a random `fraction` of the samples; return the others first."""
    count = len(samples)
    held_out = round(count * fraction)
    if not 0 < held_out < count:
        raise DataError(
            f"{count} samples can't be split into two parts, one of them {fraction:.0%}."
        )
    order = np.random.default_rng(seed).permutation(count)
    return samples.take(np.sort(order[held_out:])), samples.take(np.sort(order[:held_out]))


def _digits(input_shape: Sequence[int | None] | None) -> Dataset:
    x_train, y_train, x_test, y_test = digit_images()
    shape = tuple(size for size in input_shape or () if size is not None)
    if math.prod(shape) == 64 and len(shape) == len(tuple(input_shape or ())):
        x_train, x_test = x_train.reshape(-1, *shape), x_test.reshape(-1, *shape)
    return Dataset("digits", Samples(x_train, y_train), Samples(x_test, y_test))


def _npz(source: str, memory_limit: float) -> Dataset:
    if not Path(source).is_file():
        raise DataError(f"No such file: '{source}'.")
    try:
        arrays = read_arrays(Path(source), memory_limit)
    except Exception as error:  # zipfile, numpy and zlib have exceptions of their own.
        raise DataError(
            f"'{source}' is not a readable .npz archive of plain arrays: {reason_of(error)}."
        ) from error
    if "x" in arrays:
        return Dataset(source, _labelled(source, arrays, "x", "y"))
    if "x_train" in arrays:
        test = _labelled(source, arrays, "x_test", "y_test") if "x_test" in arrays else None
        return Dataset(source, _labelled(source, arrays, "x_train", "y_train"), test)
    return _named_inputs(source, arrays)


def _named_inputs(source: str, arrays: dict[str, Any]) -> Dataset:
    """Return the samples of a model with several inputs: arrays by the names of the inputs."""
    test = {name.removesuffix("_test") for name in arrays if name.endswith("_test")}
    if test and {f"{name}_train" for name in test} <= arrays.keys():
        parts = [
            {name.removesuffix(end): array for name, array in arrays.items() if name.endswith(end)}
            for end in ("_train", "_test")
        ]
        train, held_out = (_by_name(source, part) for part in parts)
        return Dataset(source, train, held_out)
    return Dataset(source, _by_name(source, arrays))


def _by_name(source: str, arrays: dict[str, Any]) -> Samples:
    inputs = {name: array for name, array in arrays.items() if name != "y"}
    lengths = {len(array) if array.ndim else 0 for array in inputs.values()}
    if len(inputs) < 2 or len(lengths) != 1 or 0 in lengths:
        raise DataError(
            f"'{source}' has no array 'x' (nor 'x_train', nor arrays of the same length by the"
            " names of the model's inputs). It has:"
            f" {', '.join(map(repr, arrays)) or 'nothing'}."
        )
    first = next(iter(inputs))
    samples = _labelled(source, arrays, first, "y")
    return Samples(inputs, samples.y)


def _labelled(source: str, arrays: dict[str, Any], x: str, y: str) -> Samples:
    labels = arrays.get(y)
    count = len(arrays[x]) if arrays[x].ndim else 0
    if labels is not None and (not labels.ndim or len(labels) != count):
        raise DataError(
            f"'{source}' has {count} samples in '{x}' and"
            f" {len(labels) if labels.ndim else 'no list of'} labels in '{y}'."
        )
    if labels is not None and labels.dtype.kind == "f" and not np.all(np.isfinite(labels)):
        raise DataError(f"The labels '{y}' in '{source}' hold NaN or infinite values.")
    return Samples(arrays[x], labels)


def _called(name: str, *arguments: Any) -> Any:
    function = named_function(name)
    try:
        return function(*arguments)
    except Exception as error:  # The user's function may raise anything.
        raise DataError(f"'{name}' failed: {reason_of(error)}.") from error


def _returned(source: str, value: Any) -> Dataset:
    """Return the result of a user's function as a data set."""
    if isinstance(value, Dataset):
        return value
    is_pair = isinstance(value, tuple) and len(value) == 2
    if is_pair and (
        isinstance(value[0], (tuple, Samples)) or yields_batches(value[0]) or is_rows(value[0])
    ):
        return Dataset(source, _as_samples(source, value[0]), _as_samples(source, value[1]))
    return Dataset(source, _as_samples(source, value))


def _as_samples(source: str, value: Any) -> Samples:
    if yields_batches(value):
        value = gather_labelled(value, f"batches of '{source}'")
    elif is_rows(value):
        value = split_label(rows_as_columns(value, f"rows of '{source}'"))
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
        None if part is None else Samples(_prepared(name, part.x), part.y)
        for part in (dataset.train, dataset.test)
    ]
    for part in parts:
        if part is not None and part.y is not None and len(part) != len(part.y):
            raise DataError(f"'{name}' returned {len(part)} samples for {len(part.y)}.")
    return Dataset(dataset.name, parts[0] or dataset.train, parts[1], dataset.classes)


def _mapped(dataset: Dataset, function: Callable[[Any], Any]) -> Dataset:
    """Return a data set with a function applied to each array of samples."""
    train, test = (
        None if part is None else Samples(keras.tree.map_structure(function, part.x), part.y)
        for part in (dataset.train, dataset.test)
    )
    assert train is not None
    return Dataset(dataset.name, train, test, dataset.classes)


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
        return as_lazy(x).map(lambda rows: _called(name, rows))
    return _called(name, loaded(x))


def _tfds(source: str, *, as_stored: bool) -> Dataset:
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
        return Dataset(source, _tfds_split(tfds, builder, rest[0], as_stored))
    if "train" not in builder.info.splits:
        raise DataError(
            f"'{source}' has no split 'train'. Name one of: {', '.join(builder.info.splits)}."
        )
    test = next((split for split in ("test", "validation") if split in builder.info.splits), None)
    return Dataset(
        source,
        _tfds_split(tfds, builder, "train", as_stored),
        _tfds_split(tfds, builder, test, as_stored) if test else None,
    )


def _tfds_split(tfds: Any, builder: Any, name: str, as_stored: bool) -> Samples:
    try:
        x, y = tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1, as_supervised=True))
    except Exception as error:
        raise DataError(
            f"TensorFlow Datasets can't read split '{name}' of '{builder.name}':"
            f" {reason_of(error)}."
        ) from error
    is_scaled = x.dtype == np.uint8 and not as_stored
    return Samples(x.astype("float32") / 255.0 if is_scaled else x, y)
