"""Samples from named columns: which are inputs, which are labels, and what text labels mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_prelu.data.containers import LABELS
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError

__all__ = ["ColumnRoles", "dataset_of_columns"]


@dataclass(frozen=True, kw_only=True)
class ColumnRoles:
    """What the columns of a data set are for.

    Attributes:
        labels: Tuple of str. The columns that hold labels; if it is empty, "label" or "labels".
        inputs: Tuple of str. The names of the model's inputs; empty if they are not known.
    """

    labels: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


def dataset_of_columns(
    source: str,
    train: Mapping[str, Any],
    test: Mapping[str, Any] | None,
    roles: ColumnRoles,
    classes: Sequence[str] = (),
) -> Dataset:
    """Return a data set whose samples are the rows of columns.

    Labels that are text become the numbers of their classes, in alphabetical order. The inputs are
    the columns by the names of the model's inputs, or else all that hold no labels: one array of
    them if they are single numbers, the only one if there is one, and otherwise a dict.

    Args:
        source: Str. Name of the data set.
        train: Mapping from names of columns to arrays.
        test: The same of the samples held out, or None.
        roles: `ColumnRoles`.
        classes: Sequence of str. The names of the classes if labels are numbers. Defaults to none.

    Raises:
        DataError: There is no such column, a column has missing values, or no input is left.
    """
    parts = [_samples(source, part, roles) for part in (train, test) if part is not None]
    names = tuple(classes)
    if parts[0].y is not None and _is_text(parts[0].y):
        names = tuple(sorted({str(label) for label in np.unique(parts[0].y)}))
    numbered = [_numbered(source, part, names) for part in parts]
    return Dataset(source, numbered[0], numbered[1] if len(numbered) > 1 else None, names)


def _samples(source: str, columns: Mapping[str, Any], roles: ColumnRoles) -> Samples:
    labels = roles.labels or tuple(name for name in LABELS if name in columns)[:1]
    missing = next((name for name in labels if name not in columns), None)
    if missing is not None:
        raise DataError(
            f"'{source}' has no column '{missing}'. It has: {', '.join(map(repr, columns))}."
        )
    checked = {name: _checked(source, name, column) for name, column in columns.items()}
    y: Any = None
    if labels:
        y = {name: checked[name] for name in labels} if len(labels) > 1 else checked[labels[0]]
    return Samples(_inputs(source, checked, labels, roles.inputs), y)


def _inputs(
    source: str, columns: dict[str, Any], labels: Sequence[str], names: Sequence[str]
) -> Any:
    inputs = {name: column for name, column in columns.items() if name not in labels}
    if not inputs:
        raise DataError(f"'{source}' has no column besides its labels.")
    if names and all(name in inputs for name in names):
        inputs = {name: inputs[name] for name in names}
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    is_one_array = len(names) <= 1 and all(
        column.ndim == 1 and column.dtype.kind in "biuf" for column in inputs.values()
    )
    return np.stack(list(inputs.values()), axis=1) if is_one_array else inputs


def _checked(source: str, name: str, column: Any) -> Any:
    """Return a column without missing values: text as strings, lists of numbers as an array."""
    if column.dtype == object:
        column = _of_objects(source, name, column)
    is_float = isinstance(column, np.ndarray) and column.dtype.kind == "f"
    if is_float and not np.all(np.isfinite(column)):
        row = int(np.argwhere(~np.isfinite(column))[0][0])
        raise DataError(
            f"Column '{name}' of '{source}' has no finite value in row {row}. Fill or drop missing"
            " values first."
        )
    return column


def _of_objects(source: str, name: str, column: np.ndarray) -> np.ndarray:
    for row, value in enumerate(column):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            raise DataError(
                f"Column '{name}' of '{source}' has no value in row {row}. Fill or drop missing"
                " values first."
            )
    if all(isinstance(value, (str, bytes)) for value in column):
        return column.astype(bytes if isinstance(column[0], bytes) else str)
    try:
        return np.stack([np.asarray(value) for value in column])
    except ValueError as error:
        raise DataError(
            f"Column '{name}' of '{source}' holds values of several shapes or types."
        ) from error


def _is_text(labels: Any) -> bool:
    return isinstance(labels, np.ndarray) and labels.dtype.kind in "SU"


def _numbered(source: str, samples: Samples, names: Sequence[str]) -> Samples:
    """Return samples with numbers in place of labels that are text."""
    if isinstance(samples.y, Mapping):
        return replace(
            samples,
            y={
                name: np.unique(part, return_inverse=True)[1] if _is_text(part) else part
                for name, part in samples.y.items()
            },
        )
    if samples.y is None or not _is_text(samples.y):
        return samples
    labels = samples.y.astype(str)
    unknown = sorted(set(labels.tolist()) - set(names))
    if unknown:
        raise DataError(
            f"The test samples of '{source}' have a label '{unknown[0]}' that no training sample"
            " has."
        )
    return replace(samples, y=np.searchsorted(np.array(names), labels).astype(np.int32))
