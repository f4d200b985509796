"""Sources of batches: data sets, generators and loaders, as `fit` takes them."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_prelu.errors import DataError, InvalidArgumentError, reason_of

__all__ = [
    "batch_count",
    "check_training_stream",
    "gather_batches",
    "gather_labelled",
    "limit_for",
    "yields_batches",
]

MOST_FROM_BATCHES = 4096
"""The largest number of unlabelled samples taken from a source of batches, which may be endless."""
MOST_BYTES = 4e9
"""The size up to which labelled samples are gathered from a source whose length is unknown."""

_INFINITE = -1  # The cardinality of an endless `tf.data.Dataset`.
_REPEATABLE = (
    "arrays, a tf.data.Dataset (tf.data.Dataset.from_generator calls a function again for each"
    " pass), or a keras.utils.PyDataset"
)


def yields_batches(source: Any) -> bool:
    """Return whether samples come in batches instead of as arrays."""
    if isinstance(source, (np.ndarray, Mapping, list, tuple, str)) or hasattr(source, "shape"):
        return False
    return isinstance(source, (keras.utils.PyDataset, Iterator)) or (
        isinstance(source, Iterable)
        and (hasattr(source, "element_spec") or _comes_from(source, ("torch", "grain")))
    )


def limit_for(source: Any) -> float:
    """Return how many unlabelled samples to take: all if the number of batches is known."""
    count = batch_count(source)
    return MOST_FROM_BATCHES if count is None or count == math.inf else math.inf


def gather_batches(source: Any, limit: float = MOST_FROM_BATCHES) -> Any:
    """Gather unlabelled samples from a source of batches.

    Args:
        source: `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch `DataLoader` or generator that
            yields batches: x, or (x, y) or (x, y, weights) as in `fit`, of which only x is used.
            Anything else is returned unchanged.
        limit: Number. Largest number of samples, so that a source may be endless. Defaults to
            4,096.

    Returns:
        An array, or a structure of arrays as in the batches.

    Raises:
        DataError: There is no batch.
    """
    if not yields_batches(source):
        return source
    parts: list[Any] = []
    count = 0
    for batch in _batches(source):
        parts.append(_as_arrays(_parts_of(batch, source)[0]))
        count += _length(parts[-1])
        if count >= limit:
            break
    most = None if limit == math.inf else int(limit)
    return keras.tree.map_structure(lambda array: array[:most], _joined(parts))


def gather_labelled(source: Any, role: str) -> tuple[Any, Any]:
    """Gather all samples and their labels from a source of batches.

    Args:
        source: Source of batches as in `gather_batches`.
        role: Str. Name of the samples in messages.

    Returns:
        A pair of x and y, in the structure of the batches; y is None if a batch has no labels.

    Raises:
        DataError: There is no batch, the source is endless, or its batches have weights.
    """
    if batch_count(source) == math.inf:
        raise DataError(
            f"The {role} are an endless data set. Limit it: leave out repeat(), or give"
            " dataset.take(batches)."
        )
    parts: list[Any] = []
    labels: list[Any] = []
    size = 0.0
    for batch in _batches(source):
        x, y, weights = _parts_of(batch, source)
        if weights is not None:
            raise DataError(
                f"The {role} have sample weights, which are not used here. Give batches (x, y)."
            )
        parts.append(_as_arrays(x))
        labels.append(None if y is None else _as_arrays(y))
        size += sum(array.nbytes for array in keras.tree.flatten(parts[-1]))
        if size > MOST_BYTES and batch_count(source) is None:
            raise DataError(
                f"The {role} do not end within {MOST_BYTES / 1e9:g} GB. Give a data set with a"
                " length, such as dataset.take(batches)."
            )
    is_labelled = all(part is not None for part in labels)
    return _joined(parts), _joined(labels) if is_labelled and parts else None


def check_training_stream(train: Any) -> None:
    """Check that training data which is not an array can be used for several trainings.

    Args:
        train: What the user passes as training data, neither `Samples` nor a pair.

    Raises:
        InvalidArgumentError: A ValueError; it yields no labelled batches, can be read only once, or
            has no end.
    """
    if isinstance(train, tuple) and len(train) == 3:
        raise InvalidArgumentError(
            "Sample weights are taken only with data sets that yield (x, y, weights). Give `train`"
            " as such a data set, or without weights."
        )
    if isinstance(train, Iterator):
        raise InvalidArgumentError(
            f"`train` is a generator or iterator ({type(train).__name__}), which the first of the"
            f" trainings would use up. Give {_REPEATABLE}."
        )
    if isinstance(train, (list, Mapping, str)) or hasattr(train, "shape"):
        raise InvalidArgumentError(
            f"`train` must be a pair (x, y) in a tuple, keras_prelu.data.Samples, or a data set of"
            f" batches. Received: a {type(train).__name__}"
        )
    if not isinstance(train, (Iterable, keras.utils.PyDataset)):
        raise InvalidArgumentError(
            f"`train` must be a pair (x, y) or a data set. Received: {type(train).__name__}"
        )
    if batch_count(train) == math.inf:
        raise InvalidArgumentError(
            "`train` is an endless data set, so that an epoch has no end. Leave out repeat(), or"
            " give dataset.take(batches) with the batches of one epoch."
        )
    spec = getattr(train, "element_spec", None)
    if spec is not None and not (isinstance(spec, (tuple, list)) and len(spec) in (2, 3)):
        raise InvalidArgumentError("`train` must yield batches (x, y); it yields x alone.")
    if batch_count(train) == 0:
        raise InvalidArgumentError("`train` has no batches.")


def _comes_from(source: Any, packages: tuple[str, ...]) -> bool:
    return any(
        cls.__module__.split(".")[0] in packages and "Data" in cls.__name__
        for cls in type(source).__mro__
    )


def _batches(source: Any) -> Iterator[Any]:
    try:
        if isinstance(source, keras.utils.PyDataset) and (count := batch_count(source)) is not None:
            indices = itertools.count() if count == math.inf else range(int(count))
            yield from (source[index] for index in indices)
        else:
            yield from source
    except DataError:
        raise
    except Exception as error:  # The user's code may raise anything.
        raise DataError(
            f"{type(source).__name__} could not yield a batch: {reason_of(error)}."
        ) from error


def _parts_of(batch: Any, source: Any) -> tuple[Any, Any, Any]:
    """Return x, y and weights of a batch; None for those that it lacks."""
    yields_lists = isinstance(source, keras.utils.PyDataset) or _comes_from(source, ("torch",))
    if isinstance(batch, tuple) or (yields_lists and isinstance(batch, list)):
        if not 1 <= len(batch) <= 3:
            raise DataError(
                f"A batch must be x, (x, y) or (x, y, weights). Received: {len(batch)} parts"
            )
        x, y, weights = (*batch, None, None)[:3]
        return x, y, weights
    return batch, None, None


def _as_arrays(structure: Any) -> Any:
    return keras.tree.map_structure(
        lambda tensor: (
            np.asarray(keras.ops.convert_to_numpy(tensor))
            if keras.ops.is_tensor(tensor)
            else np.asarray(tensor)
        ),
        structure,
    )


def _joined(parts: list[Any]) -> Any:
    if not parts:
        raise DataError("There are no samples: the source of batches is empty.")
    try:
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
    except ValueError as error:
        raise DataError(
            f"The batches do not fit together; is the data set batched? ({reason_of(error)}.)"
        ) from error


def _length(structure: Any) -> int:
    return len(np.atleast_1d(keras.tree.flatten(structure)[0]))


def batch_count(source: Any) -> float | None:
    """Return the number of batches: infinity for an endless source, None if it is not known."""
    try:
        if isinstance(source, keras.utils.PyDataset):
            return math.inf if source.num_batches is None else source.num_batches
        if hasattr(source, "element_spec") and callable(getattr(source, "cardinality", None)):
            count = int(source.cardinality())
            return math.inf if count == _INFINITE else None if count < 0 else count
        return math.inf if len(source) >= sys.maxsize else len(source)
    except (TypeError, NotImplementedError):
        return None
    except OverflowError:  # `len` of more elements than an index can count.
        return math.inf
