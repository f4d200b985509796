"""Sources of batches: data sets, generators and loaders, as `fit` takes them."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.data.containers import from_pandas
from keras_prelu.data.declarations import declares_inputs
from keras_prelu.errors import DataError, InvalidArgumentError, reason_of

__all__ = [
    "batch_count",
    "batches_of",
    "check_training_stream",
    "first_batch",
    "gather_batches",
    "gather_labelled",
    "limit_for",
    "parts_of",
    "yields_batches",
]

MOST_FROM_BATCHES = 4096
"""The largest number of unlabelled samples taken from a source of batches, which may be endless."""
MOST_BYTES = 4e9
"""The size up to which labelled samples are gathered from a source whose length is unknown."""
MOST_BATCHES = 100_000
"""The number of batches up to which that is done, for a generator that never ends."""

_INFINITE = -1  # The cardinality of an endless `tf.data.Dataset`.


def yields_batches(source: Any) -> bool:
    """Return whether samples come in batches instead of as arrays."""
    if isinstance(source, (np.ndarray, Mapping, list, tuple, str)) or hasattr(source, "shape"):
        return False
    return isinstance(source, (keras.utils.PyDataset, Iterator)) or (
        isinstance(source, Iterable) and (hasattr(source, "element_spec") or _is_loader(source))
    )


def limit_for(source: Any) -> float:
    """Return how many unlabelled samples to take: all if the number of batches is known."""
    count = batch_count(source)
    return MOST_FROM_BATCHES if count is None or count == math.inf else math.inf


def gather_batches(
    source: Any, limit: float = MOST_FROM_BATCHES, model: keras.Model | None = None
) -> Any:
    """Gather unlabelled samples from a source of batches.

    Args:
        source: `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch `DataLoader`, data set or loader
            of Grain, or generator that yields batches: x, or (x, y) or (x, y, weights) as in `fit`,
            of which only x is used. Anything else is returned unchanged.
        limit: Number. Largest number of samples, so that a source may be endless. Defaults to
            4,096.
        model: Keras model that takes the batches, or None. Defaults to None.

    Returns:
        An array, or a structure of arrays as in the batches.

    Raises:
        DataError: There is no batch, or samples come one by one.
    """
    if not yields_batches(source):
        return source
    parts: list[Any] = []
    count = 0
    for batch in batches_of(source):
        parts.append(parts_of(batch, source, model)[0])
        count += _length(parts[-1])
        if count >= limit:
            break
    most = None if limit == math.inf else int(limit)
    return keras.tree.map_structure(lambda array: array[:most], _joined(parts))


def gather_labelled(
    source: Any, role: str, model: keras.Model | None = None
) -> tuple[Any, Any, Any]:
    """Gather all samples, their labels and their weights from a source of batches.

    Args:
        source: Source of batches as in `gather_batches`.
        role: Str. Name of the samples in messages.
        model: Keras model that takes the batches, or None. Defaults to None.

    Returns:
        A tuple of x, y and weights, in the structure of the batches; y or weights are None if a
        batch lacks them.

    Raises:
        DataError: There is no batch, samples come one by one, or the source has no end.
    """
    count = batch_count(source)
    if count == math.inf:
        raise DataError(
            f"The {role} are an endless data set. Limit it: leave out repeat(), or give"
            " dataset.take(batches)."
        )
    gathered: list[tuple[Any, Any, Any]] = []
    size = 0.0
    for batch in batches_of(source):
        gathered.append(parts_of(batch, source, model))
        size += sum(array.nbytes for array in keras.tree.flatten(gathered[-1][0]))
        if count is None and (size > MOST_BYTES or len(gathered) > MOST_BATCHES):
            raise DataError(
                f"The {role} do not end within {MOST_BATCHES:,} batches or {MOST_BYTES / 1e9:g} GB."
                " Give a data set with a length, such as dataset.take(batches), or a part of a"
                " generator, itertools.islice(generator, batches)."
            )
    x, y, weights = zip(*gathered, strict=True) if gathered else ((), (), ())
    return _joined(x), _joined_if_all(y), _joined_if_all(weights)


def check_training_stream(train: Any, *, has_steps: bool) -> None:
    """Check that training data which is not an array can be used for several trainings.

    Args:
        train: What the user passes as training data: no arrays, and no iterator.
        has_steps: Bool. Whether the number of batches in an epoch is given.

    Raises:
        InvalidArgumentError: A ValueError; it yields no labelled batches, or has no end.
    """
    if isinstance(train, (list, Mapping, str)) or hasattr(train, "shape"):
        raise InvalidArgumentError(
            f"`train` must be a pair (x, y) in a tuple, keras_prelu.data.Samples, or a data set of"
            f" batches. Received: a {type(train).__name__}"
        )
    if not isinstance(train, (Iterable, keras.utils.PyDataset)):
        advice = ""
        if hasattr(train, "__getitem__") and hasattr(train, "__len__"):
            advice = " Batch a data set of samples, such as torch.utils.data.DataLoader(data, 32)."
        raise InvalidArgumentError(
            f"`train` must be a pair (x, y) or a data set.{advice} Received: {type(train).__name__}"
        )
    if batch_count(train) == math.inf and not has_steps:
        raise InvalidArgumentError(
            "`train` is an endless data set, so that an epoch has no end. Give `steps_per_epoch`,"
            " leave out repeat(), or give dataset.take(batches) with the batches of one epoch."
        )
    spec = getattr(train, "element_spec", None)
    if spec is not None and not (isinstance(spec, (tuple, list)) and len(spec) in (2, 3)):
        raise InvalidArgumentError("`train` must yield batches (x, y); it yields x alone.")
    if batch_count(train) == 0:
        raise InvalidArgumentError("`train` has no batches.")


def first_batch(source: Any, model: keras.Model) -> tuple[Any, Any, Any]:
    """Return x, y and weights of the first batch of a source that can be read again.

    Raises:
        DataError: There is no batch, or it is a single sample.
    """
    for batch in batches_of(source):
        return parts_of(batch, source, model)
    raise DataError("There are no samples: the source of batches is empty.")


def _is_loader(source: Any) -> bool:
    return any(
        cls.__module__.split(".")[0] in ("torch", "grain") and "Data" in cls.__name__
        for cls in type(source).__mro__
    )


def batches_of(source: Any) -> Iterator[Any]:
    """Yield the batches of a source as they are.

    Raises:
        DataError: The source raises an error.
    """
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
            f"{type(source).__name__} could not yield a batch: {reason_of(error)}.{_advice(error)}"
        ) from error


def _advice(error: Exception) -> str:
    # Grain reads flags of absl when it starts worker processes.
    if type(error).__name__ != "UnparsedFlagAccessError":
        return ""
    return " Call absl.flags.FLAGS.mark_as_parsed() before, or start the program by absl.app.run."


def parts_of(batch: Any, source: Any, model: keras.Model | None = None) -> tuple[Any, Any, Any]:
    """Return x, y and weights of a batch as arrays; None for those that it lacks.

    Args:
        batch: Batch that `source` yielded.
        source: Source of batches.
        model: Keras model that takes the batches, or None. Defaults to None.

    Raises:
        DataError: It has other parts, or is a single sample.
    """
    yields_lists = isinstance(source, keras.utils.PyDataset) or _is_loader(source)
    parts: Any = (batch,)
    if isinstance(batch, tuple) or (yields_lists and isinstance(batch, list)):
        if not 1 <= len(batch) <= 3:
            raise DataError(
                f"A batch must be x, (x, y) or (x, y, weights). Received: {len(batch)} parts"
            )
        parts = batch
    x, y, weights = (
        None if part is None else _as_arrays(part) for part in (*parts, None, None)[:3]
    )
    if _is_one_sample(x, y, model):
        raise DataError(
            f"{type(source).__name__} yields samples one by one, not in batches: the first part of"
            f" one has shape {keras.tree.flatten(x)[0].shape}. Batch it, such as"
            " dataset.batch(32)."
        )
    return x, y, weights


def _is_one_sample(x: Any, y: Any, model: keras.Model | None) -> bool:
    """Return whether x has no batch axis: it is a scalar, or has the shape of a model's sample."""
    arrays = keras.tree.flatten(x)
    if any(
        np.ndim(array) == 0 for array in (*arrays, *([] if y is None else keras.tree.flatten(y)))
    ):
        return True
    if model is None or not declares_inputs(model) or len(model.inputs) != 1 or len(arrays) != 1:
        return False
    shape, expected = np.shape(arrays[0]), tuple(model.inputs[0].shape[1:])
    # A batch of scalars, of shape (32,) for an input of shape (1,), is no sample of 32 values.
    return (
        expected != (1,)
        and len(shape) == len(expected)
        and all(size in (None, length) for size, length in zip(expected, shape, strict=True))
    )


def _as_arrays(structure: Any) -> Any:
    return from_pandas(
        keras.tree.map_structure(
            lambda tensor: (
                np.asarray(keras.ops.convert_to_numpy(tensor))
                if keras.ops.is_tensor(tensor)
                else tensor
                if hasattr(tensor, "iloc")
                else np.asarray(tensor)
            ),
            structure,
        )
    )


def _joined_if_all(parts: Sequence[Any]) -> Any:
    return _joined(parts) if parts and all(part is not None for part in parts) else None


def _joined(parts: Sequence[Any]) -> Any:
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
