"""Samples from named columns: which are inputs, which are labels, and what text labels mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.data.containers import LABELS, WEIGHTS
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.samples import Samples
from keras_prelu.data.text_labels import with_class_numbers
from keras_prelu.errors import DataError
from keras_prelu.utils.suggestions import did_you_mean, few_of

__all__ = ["ColumnRoles", "dataset_of_columns", "label_names", "used_columns", "weights_name"]

_SIMILAR = 0.75
"""The least similarity of names of columns, which are short, for a suggestion."""


@dataclass(frozen=True, kw_only=True)
class ColumnRoles:
    """What the columns of a data set are for.

    Attributes:
        labels: Tuple of str. The columns that hold labels; if it is empty, "label" or "labels".
        inputs: Tuple of str. The names of the model's inputs; empty if they are not known.
        outputs: Tuple of str. The names of the model's outputs; empty if they are not known.
    """

    labels: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def label_names(
    names: Collection[str], roles: ColumnRoles, default: Sequence[str]
) -> tuple[str, ...]:
    """Return which columns hold labels: those that are named, a default, or the model's outputs.

    Args:
        names: Collection of str. The names of all columns.
        roles: `ColumnRoles`.
        default: Sequence of str. Of these, the first that is a column holds the labels, unless it
            is one of several outputs.
    """
    candidates = (name for name in default if name in names and name not in roles.inputs)
    found = roles.labels or tuple(candidates)[:1]
    outputs = set(roles.outputs)
    are_columns = bool(outputs) and outputs < set(names) - set(roles.inputs)
    return roles.outputs if are_columns and not roles.labels and set(found) <= outputs else found


def weights_name(names: Collection[str], roles: ColumnRoles) -> str:
    """Return which column holds weights of samples: "sample_weight", unless it is an input."""
    return WEIGHTS if WEIGHTS in names and WEIGHTS not in (*roles.inputs, *roles.labels) else ""


def used_columns(source: str, names: Collection[str], roles: ColumnRoles) -> tuple[str, ...]:
    """Return the names of the columns that are inputs, labels or weights.

    Args:
        source: Str. Name of the data set.
        names: Collection of str. The names of all columns.
        roles: `ColumnRoles`.

    Raises:
        DataError: There is no such column, or no input is left.
    """
    labels = label_names(names, roles, LABELS)
    if not roles.labels and len(labels) == 1:
        rival = next(
            (name for name in label_names(names, roles, LABELS[::-1]) if name not in labels), ""
        )
        if rival:
            raise DataError(
                f"'{source}' has the columns '{labels[0]}' and '{rival}', and either could be the"
                " labels. Name them with --label; the other column is then an input."
            )
    missing = next((name for name in labels if name not in names), None)
    if missing is not None:
        suggestion = did_you_mean(missing, names, cutoff=_SIMILAR)
        raise DataError(
            f"'{source}' has no column '{missing}'.{suggestion} It has:"
            f" {few_of(names, first=list(names)[-1:])}."
        )
    weights = weights_name(names, roles)
    inputs = tuple(name for name in names if name not in (*labels, weights))
    if not inputs:
        raise DataError(f"'{source}' has no column besides its labels.")
    if roles.inputs and set(roles.inputs) <= set(inputs):
        inputs = roles.inputs
    return (*inputs, *labels, *filter(None, [weights]))


def dataset_of_columns(
    source: str,
    train: Mapping[str, Any],
    test: Mapping[str, Any] | None,
    roles: ColumnRoles,
    classes: Sequence[str] = (),
    columns: Sequence[str] = (),
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
        columns: Sequence of str. The names of all columns that the source has. Defaults to those of
            `train`.

    Raises:
        DataError: There is no such column, a column has missing values, or no input is left.
    """
    return with_class_numbers(
        Dataset(
            source,
            _samples(source, train, roles),
            None if test is None else _samples(source, test, roles),
            classes=tuple(classes),
            columns=tuple(columns or train),
            labels=label_names(train, roles, LABELS),
            weights=weights_name(train, roles),
        )
    )


def _samples(source: str, columns: Mapping[str, Any], roles: ColumnRoles) -> Samples:
    labels = label_names(columns, roles, LABELS)
    used = used_columns(source, columns, roles)
    checked = {name: _checked(source, name, columns[name]) for name in used}
    y: Any = None
    if labels:
        y = {name: checked[name] for name in labels} if len(labels) > 1 else checked[labels[0]]
    weights = weights_name(columns, roles)
    inputs = {name: column for name, column in checked.items() if name not in (*labels, weights)}
    return Samples(_arranged(inputs, roles.inputs), y, checked.get(weights))


def _arranged(inputs: dict[str, Any], names: Sequence[str]) -> Any:
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
    for kind in (str, bytes):
        if all(isinstance(value, kind) for value in column):
            return column.astype(kind)
    try:
        return np.stack([np.asarray(value) for value in column])
    except ValueError as error:
        raise DataError(
            f"Column '{name}' of '{source}' holds values of several shapes or types."
        ) from error
