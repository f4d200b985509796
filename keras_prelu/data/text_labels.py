"""Class numbers in place of labels that are text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.errors import DataError

__all__ = ["with_class_numbers"]


def with_class_numbers(dataset: Dataset) -> Dataset:
    """Return a data set with numbers in place of labels that are text.

    The classes of each label are those of the training samples, in alphabetical order; the test
    samples are numbered by them.

    Args:
        dataset: `Dataset`. Its labels are one array or a dict of arrays, the same in both parts.

    Raises:
        DataError: A test sample has a label that no training sample has, labels are text in one
            part only, or are bytes that are not UTF-8.
    """
    train, test = dataset.train, dataset.test
    if isinstance(train.y, Mapping):
        tests: Any = {} if test is None or test.y is None else test.y
        numbered = {
            name: _numbered(dataset.name, f" '{name}'", part, tests.get(name))
            for name, part in train.y.items()
        }
        return replace(
            dataset,
            train=replace(train, y={name: part[0] for name, part in numbered.items()}),
            test=test
            and replace(test, y={name: numbered[name][1] for name in tests} if tests else None),
        )
    y, y_test, names = _numbered(dataset.name, "", train.y, None if test is None else test.y)
    return replace(
        dataset,
        train=replace(train, y=y),
        test=test and replace(test, y=y_test),
        classes=names or dataset.classes,
    )


def _numbered(source: str, label: str, train: Any, test: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Return labels of both parts as numbers, and the names of the classes if they were text."""
    if test is not None and _is_text(train) != _is_text(test):
        kinds = ("text", "not") if _is_text(train) else ("not text", "text")
        raise DataError(
            f"The labels{label} of the training samples of '{source}' are {kinds[0]}, and those of"
            f" the test samples are {kinds[1]}."
        )
    if not _is_text(train):
        return train, test, ()
    known, numbers = np.unique(_as_strings(source, label, train), return_inverse=True)
    if test is not None:
        texts = _as_strings(source, label, test)
        unknown = np.setdiff1d(texts, known)
        if len(unknown):
            raise DataError(
                f"The test samples of '{source}' have a label{label} '{unknown[0]}' that no"
                " training sample has."
            )
        test = np.searchsorted(known, texts).astype(np.int32)
    return numbers.reshape(np.shape(train)).astype(np.int32), test, tuple(known.tolist())


def _is_text(labels: Any) -> bool:
    return isinstance(labels, np.ndarray) and labels.dtype.kind in "SU"


def _as_strings(source: str, label: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind == "U":
        return np.asarray(labels)
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"The labels{label} of '{source}' are bytes that are not UTF-8.") from error
