"""What a data set consists of, in one line."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.lazy import is_lazy
from keras_prelu.data.samples import Samples

__all__ = ["summary"]

_LOOKED_AT = 64
"""The number of samples on disk whose range is looked at."""
_MOST_LETTERS = 30
_MOST_ARRAYS = 5
"""The number of arrays by name that are described one by one."""
_MOST_NAMES = 10
"""The number of classes up to which all of them are named."""


def summary(dataset: Dataset) -> str:
    """Return the numbers of samples, their shape, type and range, the classes and weights."""
    parts = [_samples(dataset.train, "training" if dataset.test is not None else "")]
    if dataset.test is not None:
        parts.append(_samples(dataset.test, "test"))
    weights = f", weights '{dataset.weights}'" if dataset.weights else ""
    return f"{dataset.name}: {', '.join(parts)}{_classes(dataset)}{weights}."


def _samples(samples: Samples, part: str) -> str:
    if isinstance(samples.x, dict):
        named = [f"'{name}': {_described(array)}" for name, array in samples.x.items()]
        more = [f"{len(named) - _MOST_ARRAYS} more"] if len(named) > _MOST_ARRAYS else []
        arrays = "; ".join([*named[:_MOST_ARRAYS], *more])
    else:
        arrays = "; ".join(_described(array) for array in keras.tree.flatten(samples.x))
    return " ".join(filter(None, [f"{len(samples):,}", part, "samples of", arrays]))


def _described(array: Any) -> str:
    looked_at = np.asarray(array[:_LOOKED_AT] if is_lazy(array) else array)
    if looked_at.dtype.kind in "SU":
        return f"shape {tuple(looked_at.shape[1:])}, text such as {_short(looked_at)}"
    text = f"shape {tuple(looked_at.shape[1:])}, {looked_at.dtype.name}"
    if looked_at.dtype.kind not in "biuf" or not looked_at.size:
        return text
    few = f" (of the first {len(looked_at)})" if len(looked_at) < len(array) else ""
    return f"{text} from {looked_at.min():.6g} to {looked_at.max():.6g}{few}"


def _short(texts: np.ndarray) -> str:
    first = str(texts.flat[0])
    return repr(first if len(first) <= _MOST_LETTERS else f"{first[: _MOST_LETTERS - 1]}…")


def _labels(dataset: Dataset) -> str:
    """Return what the labels are where no names of classes are known."""
    y = dataset.train.y
    if y is None:
        return ", without labels"
    if isinstance(y, dict):
        parts = [f"'{name}': {_described(part)}" for name, part in y.items()]
        return f", labels {'; '.join(parts)}"
    parts = [_described(part) for part in keras.tree.flatten(y)]
    names = f" '{dataset.labels[0]}'" if len(dataset.labels) == 1 else ""
    return f", labels{names} of {'; '.join(parts)}"


def _classes(dataset: Dataset) -> str:
    if not dataset.classes:
        return _labels(dataset)
    names = [*dataset.classes[:_MOST_NAMES]]
    more = ["…"] if len(dataset.classes) > _MOST_NAMES else []
    return f", in {len(dataset.classes)} classes: {', '.join([*names, *more])}"
