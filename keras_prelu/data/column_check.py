"""Check that the columns of a data set are the numbers that a model takes.

A column of labels that nobody named is taken as an input. The shapes alone would not say so.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.data.arrays import are_numbers
from keras_prelu.data.dataset import Dataset
from keras_prelu.data.declarations import declares_inputs, input_names, output_names
from keras_prelu.data.likely_labels import likely_labels, row_numbers
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError
from keras_prelu.utils.suggestions import few_of

__all__ = ["check_columns", "check_labelled"]

_STRAY_SHARE = 0.5
"""The share of text in a column below which its values are taken for numbers."""


def check_labelled(dataset: Dataset, samples: Samples, model: keras.Model) -> None:
    """Check that samples of a data set have labels.

    Args:
        dataset: `Dataset`.
        samples: `Samples`. Its part that needs labels.
        model: Keras model. The one whose outputs the labels are for.

    Raises:
        DataError: They have none. The message says which columns there are, and which one is likely
            the labels.
    """
    if samples.y is not None:
        return
    if not dataset.columns:
        raise DataError(f"'{dataset.name}' has no labels.")
    likely = likely_labels(dataset)
    advice = "If some of these are labels, name them with --label, once for each output."
    if likely and len(output_names(model)) <= 1:
        advice = _advice(likely[0])
    raise DataError(
        f"'{dataset.name}' has no labels. It has: {few_of(dataset.columns, first=likely)}. {advice}"
    )


def check_columns(dataset: Dataset, model: keras.Model) -> None:
    """Check the columns of a data set against the only input of a model.

    Args:
        dataset: `Dataset`. One whose arrays have no names is not checked.
        model: Keras model. One with several inputs, or that does not declare them, is not checked:
            its inputs are columns by name, or whatever its code takes.

    Raises:
        DataError: The model takes another number of numbers, or a column of numbers holds some
            text. The message says which column is likely the labels, and by which option to name
            it.
    """
    if not dataset.columns or not declares_inputs(model) or len(model.inputs) != 1:
        return
    tensor, x = model.inputs[0], dataset.train.x
    inputs = dataset.inputs
    if isinstance(x, Mapping):
        _refuse_stray_text(dataset, x)
        if not set(input_names(model)) & set(x):
            raise DataError(_of_several_arrays(dataset, tensor, x))
        return
    expected = tuple(tensor.shape[1:])
    if len(expected) > 1 and expected[-1] == 1:  # A last axis of size 1 is added.
        expected = expected[:-1]
    if _are_numbers_by_column(x, inputs) and expected not in [(len(inputs),), (None,)]:
        raise DataError(_of_other_number(dataset, tensor, inputs, expected))


def _are_numbers_by_column(x: Any, inputs: Sequence[str]) -> bool:
    """Return whether samples are rows with a number for each column."""
    shape = np.shape(x)[1:]
    return shape == (len(inputs),) or (not shape and len(inputs) == 1 and x.dtype.kind in "biuf")


def _refuse_stray_text(dataset: Dataset, x: Mapping[str, Any]) -> None:
    """Raise a DataError for a column of which most values are numbers, and some are text."""
    for name, array in x.items():
        if np.ndim(array) != 1 or array.dtype.kind not in "SU":
            continue
        texts = np.flatnonzero(~are_numbers(np.asarray(array)))
        if 0 < len(texts) < _STRAY_SHARE * len(array):
            row = int(texts[0])
            raise DataError(
                f"Column '{name}' of '{dataset.name}' holds numbers, but in row {row} the text"
                f" {str(array[row])!r}, and text in {len(texts):,} of {len(array):,} rows. Fill or"
                " drop missing values first."
            )


def _of_several_arrays(dataset: Dataset, tensor: Any, x: Mapping[str, Any]) -> str:
    """Return the message on columns that make no single array, as numbers and text do."""
    likely = () if dataset.labels else likely_labels(dataset)
    texts = [name for name, array in x.items() if np.asarray(array[:1]).dtype.kind in "SU"]
    of_text = f" (text: {few_of(texts, first=likely)})" if texts else ""
    advice = "Give a model with an input for each of them, by its name, or numbers alone."
    return (
        f"{_counted(dataset, list(x), likely)}{of_text}. The model's input '{tensor.name}' takes"
        f" one array. {_advice(likely[0]) if likely else advice}"
    )


def _of_other_number(
    dataset: Dataset, tensor: Any, inputs: Sequence[str], expected: tuple[int | None, ...]
) -> str:
    likely = () if dataset.labels else likely_labels(dataset)
    if len(expected) == 1:
        takes = f"{expected[0]} number{'' if expected[0] == 1 else 's'}"
    else:
        takes = f"numbers of shape {tuple(tensor.shape[1:])}".replace("None", "any")
    advice = [
        *([_advice(likely[0])] if likely else []),
        _further_advice(dataset, inputs, expected, len(inputs) - bool(likely)),
    ]
    return " ".join(
        filter(
            None,
            [
                f"{_counted(dataset, inputs, likely)}.",
                f"The model's input '{tensor.name}' takes {takes}.",
                *advice,
            ],
        )
    )


def _counted(dataset: Dataset, inputs: Sequence[str], likely: Sequence[str]) -> str:
    what = "array" if dataset.name.endswith(".npz") else "column"
    columns = f"{len(inputs)} {what}{'' if len(inputs) == 1 else 's'}"
    labels = f" beside its labels {few_of(dataset.labels)}" if dataset.labels else ""
    return f"'{dataset.name}' has {columns}{labels}: {few_of(inputs, first=likely)}"


def _advice(label: str) -> str:
    return f"If {label!r} holds the labels, give --label {shlex.quote(label)}."


def _further_advice(
    dataset: Dataset, inputs: Sequence[str], expected: tuple[int | None, ...], count: int
) -> str:
    """Return what else helps, if a column of labels is not all that is too much.

    Args:
        dataset: `Dataset`.
        inputs: Sequence of str. The columns that are taken as inputs.
        expected: Tuple. The shape of a sample as the model takes it.
        count: Int. The number of columns without the likely labels.
    """
    if len(expected) > 1:
        fits = None in expected or count == math.prod(size or 0 for size in expected)
        return "Bring the rows into this shape with --preprocess MODULE:FUNCTION." if fits else ""
    if count == expected[0]:
        return ""
    if dataset.labels and count + len(dataset.labels) == expected[0]:
        return (
            f"If {few_of(dataset.labels)} is an input, name the column that holds the labels:"
            " --label COLUMN."
        )
    counting = row_numbers(dataset)
    reason = f"{few_of(counting)} only counts the rows. " if counting else ""
    return f"{reason}Give a table with the columns that the model was trained on."
