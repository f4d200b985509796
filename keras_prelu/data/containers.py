"""Samples in the containers of other libraries: pandas, and data sets of Hugging Face."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.data.declarations import declares_inputs
from keras_prelu.data.lazy import LazyArray
from keras_prelu.errors import DataError, reason_of

__all__ = [
    "LABELS",
    "MEMORY_LIMIT",
    "WEIGHTS",
    "column_values",
    "comes_from",
    "from_pandas",
    "is_rows",
    "rows_as_columns",
    "split_label",
]

LABELS = ("label", "labels")
"""The columns that hold labels, as Hugging Face names them."""
WEIGHTS = "sample_weight"
"""The column that holds weights of samples, as Keras names them."""
MEMORY_LIMIT = 1e9
"""The size in bytes above which the columns of a data set stay on disk."""


def comes_from(source: Any, *packages: str) -> bool:
    """Return whether an object's class, or one that it is derived from, is of a package."""
    return any(cls.__module__.split(".")[0] in packages for cls in type(source).__mro__)


def from_pandas(structure: Any, model: keras.Model | None = None) -> Any:
    """Return a structure in which the frames and series of pandas are NumPy arrays.

    Args:
        structure: Structure of arrays, frames and series; anything else in it is unchanged.
        model: Keras model, or None. A frame becomes a dict of its columns if the model takes
            several inputs, or takes an input by the name of a column; otherwise one array with a
            column for each, or a dict if some columns are text.
    """
    if "pandas" not in sys.modules:
        return structure
    if isinstance(structure, Mapping) and not comes_from(structure, "pandas", "datasets"):
        return {name: from_pandas(part, model) for name, part in structure.items()}
    if type(structure) in (list, tuple):
        # A list of numbers has nothing to convert, and may be long.
        if not structure or np.ndim(structure[0]) == 0:
            return structure
        return type(structure)(from_pandas(part, model) for part in structure)
    if not comes_from(structure, "pandas"):
        return structure
    if not hasattr(structure, "columns"):
        return column_values(structure)
    columns = {str(name): column_values(structure[name]) for name in structure.columns}
    is_numeric = all(values.dtype.kind in "biuf" for values in columns.values())
    if not columns or not is_numeric or _by_name(model, columns):
        return columns
    return np.stack(list(columns.values()), axis=1)


def is_rows(source: Any) -> bool:
    """Return whether samples are rows with columns by name: a data set of Hugging Face."""
    return "datasets" in sys.modules and comes_from(source, "datasets")


def rows_as_columns(
    source: Any, role: str, memory_limit: float | None = None, inputs: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the columns of a data set of Hugging Face as arrays by name.

    Args:
        source: `datasets.Dataset`.
        role: Str. Name of the samples in messages.
        memory_limit: Float. Number of bytes above which columns are not read yet. Defaults to None,
            1 GB.
        inputs: Sequence of str. Names of a model's inputs: if there is a column for each of them,
            others that are no labels are left out. Defaults to none.

    Raises:
        DataError: It is a dict of splits or a stream, has no rows, lacks values, or can't be read.
    """
    kind = type(source).__name__
    if isinstance(source, Mapping):
        raise DataError(
            f"The {role} are a {kind} of several splits. Give one of them: data[name] with a name"
            f" of {', '.join(map(repr, source)) or 'none'}."
        )
    if not hasattr(source, "__len__") or not hasattr(source, "features"):
        raise DataError(
            f"The {role} are a {kind} of Hugging Face, which can't be read by row. Load the data"
            " set without streaming=True, or give batches: a keras.utils.PyDataset or a"
            " tf.data.Dataset."
        )
    if not len(source):
        raise DataError(f"There are no samples in the {role}.")
    names = list(source.column_names)
    if inputs and set(inputs) <= set(names):
        names = [name for name in names if name in (*inputs, *LABELS, WEIGHTS)]
    columns = {name: _lazy_column(source, name, role) for name in names}
    size = sum(np.prod(column.shape) * column.dtype.itemsize for column in columns.values())
    if size > (MEMORY_LIMIT if memory_limit is None else memory_limit):
        return {
            name: np.asarray(column) if column.ndim == 1 else column
            for name, column in columns.items()
        }
    return {name: np.asarray(column) for name, column in columns.items()}


def split_label(columns: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the inputs, labels and weights among the columns of a data set.

    Args:
        columns: Mapping from names to arrays.

    Returns:
        A tuple of x, an array if only one column is left and else a dict; y, or None if no column
        is called "label" or "labels"; and the weights, or None if none is called "sample_weight".
    """
    label = next((name for name in LABELS if name in columns), None)
    inputs = {name: array for name, array in columns.items() if name not in (label, WEIGHTS)}
    x = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    return x, None if label is None else columns[label], columns.get(WEIGHTS)


def column_values(series: Any) -> np.ndarray:
    """Return the values of a series of pandas: text as objects, missing numbers as NaN."""
    kind = getattr(series.dtype, "kind", "O")
    if kind in "biuf":  # Also of pandas's own types, which have missing values.
        has_missing = bool(series.isna().any())
        return (
            series.to_numpy(dtype="float64", na_value=np.nan)
            if has_missing
            else np.asarray(series.to_numpy(dtype=series.dtype.type if kind != "b" else bool))
        )
    if hasattr(series, "cat") and series.cat.categories.dtype.kind in "biuf":
        return np.asarray(series.astype(series.cat.categories.dtype))
    return np.asarray(series.astype(object))


def _by_name(model: keras.Model | None, columns: Mapping[str, Any]) -> bool:
    if model is None or not declares_inputs(model):
        return False
    return len(model.inputs) > 1 or model.inputs[0].name in columns


def _lazy_column(source: Any, name: str, role: str) -> LazyArray:
    rows = source.select_columns([name]).with_format("numpy")
    has_integers = _has_integers(source.features[name])

    def read(positions: np.ndarray) -> np.ndarray:
        try:
            values = rows[positions.tolist()][name]
        except Exception as error:  # A damaged image, or a shard that is gone.
            raise DataError(
                f"The {role} can't be read from column '{name}': {reason_of(error)}."
            ) from error
        array = np.asarray(values)
        _check_present(array, positions, has_integers, f"Column '{name}' of the {role}")
        if array.dtype == object and len(array) and isinstance(array[0], (np.ndarray, list)):
            raise DataError(
                f"Column '{name}' of the {role} holds arrays of several shapes. Bring them to one"
                " shape with dataset.map first."
            )
        return array

    first = read(np.arange(1))
    if first.dtype.kind in "SUOT":
        # Strings of one row do not tell the size of all.
        values = read(np.arange(len(source)))
        return LazyArray(lambda positions: values[positions], values.shape, values.dtype)
    return LazyArray(read, (len(source), *first.shape[1:]), first.dtype)


def _has_integers(feature: Any) -> bool:
    """Return whether a column of Hugging Face holds integers or booleans, or lists of them."""
    while hasattr(feature, "feature") or isinstance(feature, list):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint", "bool"))


def _check_present(
    array: np.ndarray, positions: np.ndarray, has_integers: bool, column: str
) -> None:
    """Raise a DataError for a row without a value.

    Missing integers are read as NaN, which becomes a number again where the others are integers.
    """
    absent = np.zeros(len(array), dtype=bool)
    if array.dtype == object:
        absent = np.array([_is_absent(value) for value in array], dtype=bool)
    elif has_integers and array.dtype.kind == "f":
        absent = np.isnan(array).reshape(len(array), -1).any(axis=1)
    if absent.any():
        raise DataError(
            f"{column} has no value in row {positions[np.argmax(absent)]}. Fill or drop missing"
            " values first."
        )


def _is_absent(value: Any) -> bool:
    """Return whether a value is None: also as an array of one object."""
    return value is None or (
        isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0 and not value
    )
