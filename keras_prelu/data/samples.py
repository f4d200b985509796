"""Samples as arrays that fit a model, checked before anything is computed with them.

`as_samples` is the only entry point: a public function that takes samples calls it once and passes
on its result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import keras
import numpy as np

from keras_prelu.data.arrays import as_array, check_dense, check_finite, converted, fitted
from keras_prelu.data.containers import from_pandas, is_rows, rows_as_columns, split_label
from keras_prelu.data.declarations import check_model, declares_inputs, input_count, input_names
from keras_prelu.data.lazy import as_lazy, is_lazy, loaded, native
from keras_prelu.data.signature import input_signature, is_one_array
from keras_prelu.data.streams import gather_batches, gather_labelled, limit_for, yields_batches
from keras_prelu.data.value_range import warn_of_range
from keras_prelu.errors import DataError
from keras_prelu.utils.checks import check_integer

__all__ = ["CheckedSamples", "Samples", "as_samples", "batches", "model_inputs"]

_NO_LABELS = "cVMm"

Labels = Literal["required", "optional", "ignored"]


@dataclass(frozen=True)
class Samples:
    """Samples and, if there are any, their labels.

    Attributes:
        x: Array of samples, or a list or dict of arrays for a model with several inputs; the first
            axis counts the samples. Arrays on disk (`numpy.memmap`, data sets of h5py or zarr) are
            read batch by batch.
        y: Labels of the same length (or a list or dict of them for several outputs), or None.
        weights: Weights of the samples, or of their time steps, as `sample_weight` of `fit` (or a
            list or dict of them for several outputs), or None.
    """

    x: Any
    y: Any = None
    weights: Any = None

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.x)[0])

    @property
    def on_disk(self) -> bool:
        """Whether some of the arrays are read only when they are needed."""
        return any(is_lazy(array) for array in keras.tree.flatten((self.x, self.y)))

    @property
    def labelled(self) -> tuple[Any, ...]:
        """The tuple (x, y), or (x, y, weights) if there are weights."""
        return (self.x, self.y) if self.weights is None else (self.x, self.y, self.weights)

    def take(self, indices: Any) -> Self:
        """Return the samples at `indices` (an array of positions or a slice), in that order.

        Arrays on disk are not read yet.
        """
        return type(self)(
            *(
                None if part is None else _take(part, indices)
                for part in (self.x, self.y, self.weights)
            )
        )


class CheckedSamples(Samples):
    """Samples that `as_samples` has checked: their arrays in memory hold numbers, all finite."""

    def in_memory(self, role: str = "samples") -> CheckedSamples:
        """Return these samples with the arrays on disk read into memory and checked."""
        if not self.on_disk:
            return self
        x = keras.tree.map_structure(
            lambda array: check_finite(loaded(array), role) if is_lazy(array) else array, self.x
        )
        return CheckedSamples(x, loaded(self.y), self.weights)


def as_samples(
    data: Any,
    *,
    model: keras.Model | None = None,
    read_for: keras.Model | None = None,
    role: str = "samples",
    labels: Labels = "optional",
) -> CheckedSamples:
    """Return `data` as checked samples, without scanning checked samples again.

    Args:
        data: `Samples`; a tuple (x, y) or (x, y, weights); x alone, unless `labels` is "required":
            an array, a list of arrays, a dict of arrays by input name, or a frame of pandas; a
            `datasets.Dataset` of Hugging Face, whose column "label" or "labels" holds the labels;
            or a source of batches, see `gather_batches` and `gather_labelled`.
        model: Built Keras model whose inputs the samples must fit, or None. Defaults to None.
        read_for: Keras model by whose inputs frames and tuples are read if `model` is None; samples
            are not compared with it. Defaults to None.
        role: Str. Name of the samples in messages. Defaults to "samples".
        labels: Str. Whether labels are "required", "optional", or "ignored" (dropped; a tuple with
            as many arrays as the model has inputs is then x). Defaults to "optional".

    Returns:
        The samples, with arrays in the structure of the model's inputs, or without a model in that
        of `data`.

    Raises:
        InvalidArgumentError: A ValueError; `model` is no Keras model.
        DataError: Labels are missing, lengths differ, an array does not fit the model, holds no
            numbers, or holds NaN or infinite values. Arrays on disk are checked when they are read.
    """
    if model is not None:
        check_model(model)
    samples = _coerced(data, model if model is not None else read_for, role, labels)
    if isinstance(samples, CheckedSamples):
        return samples if model is None else _in_structure(model, samples, role)
    checked = _checked(samples, model, role)
    if model is not None:
        checked = _in_structure(model, checked, role)
        warn_of_range(model, checked.x)
    return checked


def model_inputs(model: keras.Model, samples: Any, role: str = "samples") -> list[Any]:
    """Return the arrays of `samples` in the order and dtype of a model's inputs.

    Args:
        model: Keras model. It is built.
        samples: Samples as in `as_samples` with ignored labels. Values of `CheckedSamples` are not
            scanned again.
        role: Str. Name of the samples in messages. Defaults to "samples".

    Raises:
        DataError: As in `as_samples`.
    """
    samples = as_samples(samples, model=model, role=role, labels="ignored")
    signature = input_signature(model, samples.x, role)
    return [
        converted(array, one, role)
        for array, one in zip(signature.unpack(samples.x, role), signature.inputs, strict=True)
    ]


def batches(arrays: Sequence[Any], size: int) -> Iterator[list[np.ndarray]]:
    """Iterate over consecutive batches of the arrays' first axis; the last one may be shorter."""
    check_integer("batch_size", size, minimum=1)
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


def _take(structure: Any, indices: Any) -> Any:
    return keras.tree.map_structure(
        lambda array: (
            as_lazy(array).take(indices) if is_lazy(array) else np.asarray(array)[indices]
        ),
        structure,
    )


def _coerced(data: Any, model: keras.Model | None, role: str, labels: Labels) -> Samples:
    """Return `data` as samples with unchanged arrays; batches are gathered."""
    if isinstance(data, Samples):
        samples = data
    elif isinstance(data, tuple) and len(data) in (2, 3) and _is_labelled(data, model, labels):
        samples = Samples(*data)
    else:
        samples = Samples(data)
    if is_rows(samples.x):
        inputs = () if model is None else input_names(model)
        columns = rows_as_columns(samples.x, role, inputs=inputs)
        samples = (
            Samples(*split_label(columns))
            if samples.y is None
            else replace(samples, x=split_label(columns)[0])
        )
    if yields_batches(samples.x):
        if labels == "ignored":
            samples = Samples(gather_batches(samples.x, limit_for(samples.x), model))
        else:
            samples = Samples(*gather_labelled(samples.x, role, model))
    if labels == "required" and samples.y is None:
        raise DataError(_unlabelled(data, role))
    if labels == "ignored" and samples.y is not None:
        samples = type(samples)(samples.x)
    return (
        samples
        if isinstance(samples, CheckedSamples)
        else Samples(
            from_pandas(samples.x, model), from_pandas(samples.y), from_pandas(samples.weights)
        )
    )


def _is_labelled(data: tuple[Any, ...], model: keras.Model | None, labels: Labels) -> bool:
    """Return whether a tuple is (x, y) or (x, y, weights), and not a tuple of inputs."""
    if labels != "ignored":
        return True
    count = None if model is None else input_count(model)
    # Where the tuple itself has as many arrays as the model has inputs, it is x.
    return count is not None and _array_count(data) != count and _array_count(data[0]) == count


def _array_count(x: Any) -> int:
    """Return the number of arrays in a structure; a list of numbers, nested or not, is one."""
    if isinstance(x, Mapping):
        return sum(_array_count(part) for part in x.values())
    if isinstance(x, tuple) or (isinstance(x, list) and not is_one_array(x)):
        return sum(_array_count(part) for part in x)
    return 1


def _unlabelled(data: Any, role: str) -> str:
    advice = " Write (x, y), not [x, y]." if isinstance(data, list) and len(data) == 2 else ""
    if is_rows(data):
        advice = (
            " The data set has no column 'label' or 'labels': rename_column(name, 'label'), or give"
            " (data.remove_columns(name), data[name])."
        )
    return (
        f"The {role} must be a pair (x, y), keras_prelu.data.Samples with labels, or a data set of"
        f" batches (x, y).{advice} Received: {type(data).__name__}"
    )


def _checked(samples: Samples, model: keras.Model | None, role: str) -> CheckedSamples:
    """Convert the arrays, scan those in memory, and compare their lengths."""
    _check_given(samples.x, role)
    x = _as_arrays(samples.x, model, role)
    lengths = {len(array) for array in keras.tree.flatten(x)}
    if len(lengths) > 1:
        raise DataError(
            f"The inputs in the {role} have different numbers of samples: {sorted(lengths)}."
        )
    if lengths in (set(), {0}):
        raise DataError(f"There are no samples in the {role}.")
    count = lengths.pop()
    y = None if samples.y is None else _labels(samples.y, count, role, "labels")
    return CheckedSamples(x, y, _weights(samples, count, role))


def _check_given(x: Any, role: str) -> None:
    """Raise a DataError for None in place of an array, by which Keras leaves an input out."""
    if isinstance(x, Mapping):
        left_out = [f"'{name}'" for name, array in x.items() if array is None]
    elif isinstance(x, (list, tuple)) and not is_one_array(x):
        left_out = [f"number {number}" for number, array in enumerate(x, 1) if array is None]
    else:
        return
    if left_out:
        raise DataError(
            f"The {role} hold None for input {left_out[0]}, and keras_prelu needs an array for each"
            " input. To leave out an optional input, give a keras.Model whose call() takes the"
            " others and passes None on: `return self.inner([x, None])`."
        )


def _as_arrays(x: Any, model: keras.Model | None, role: str) -> Any:
    """Return the arrays of x in the structure of the model's inputs, or else in their own."""
    if model is not None and declares_inputs(model):
        signature = input_signature(model, x)
        return signature.pack([as_array(array, role) for array in signature.unpack(x, role)])
    if isinstance(x, (list, tuple)) and is_one_array(x):
        return as_array(x, role)
    if isinstance(x, Mapping):
        return {name: _as_arrays(array, None, role) for name, array in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(_as_arrays(array, None, role) for array in x)
    return as_array(x, role)


def _labels(y: Any, count: int, role: str, what: str) -> Any:
    """Return labels or weights, a list of numbers or strings as an array.

    Args:
        y: Structure of arrays.
        count: Int. Number of samples.
        role: Str. Name of the samples in messages.
        what: Str. "labels" or "weights".
    """
    y = np.asarray(y) if isinstance(y, (list, tuple)) and is_one_array(y) else y
    y = keras.tree.map_structure(
        lambda array: (
            keras.ops.convert_to_numpy(array)
            if keras.ops.is_tensor(array)
            else np.asarray(array)
            if hasattr(array, "__len__") and not hasattr(array, "shape")
            else array
        ),
        y,
    )
    for array in keras.tree.flatten(y):
        check_dense(array, f"{what} of the {role}")
        if isinstance(array, np.ndarray) and array.dtype.kind in _NO_LABELS:
            raise DataError(
                f"The {what} of the {role} are no numbers: their dtype is {array.dtype}."
            )
        if np.ndim(array) == 0 or len(array) != count:
            raise DataError(
                f"The {role} are {count}, their {what}"
                f" {len(array) if np.ndim(array) else 'a single value'}."
            )
    return keras.tree.map_structure(
        lambda array: native(array) if isinstance(array, np.ndarray) else array, y
    )


def _weights(samples: Samples, count: int, role: str) -> Any:
    """Return the checked weights of samples, None if there are none."""
    if samples.weights is None:
        return None
    weights = _labels(samples.weights, count, role, "weights")
    for array in keras.tree.flatten(weights):
        values = check_finite(np.asarray(array), f"weights of the {role}")
        if values.dtype.kind not in "biuf" or (values < 0).any() or not (values > 0).any():
            raise DataError(
                f"The weights of the {role} must be numbers from 0 on, and not all 0. They are"
                f" {values.dtype} from {values.min()} to {values.max()}."
            )
    return weights


def _in_structure(model: keras.Model, samples: CheckedSamples, role: str) -> CheckedSamples:
    """Return the samples in the structure of a model's inputs, after comparing their shapes."""
    signature = input_signature(model, samples.x, role)
    arrays = [
        fitted(array, one, role)
        for array, one in zip(signature.unpack(samples.x, role), signature.inputs, strict=True)
    ]
    packed = signature.pack(arrays)
    unchanged = [id(array) for array in keras.tree.flatten(samples.x)] == [
        id(array) for array in keras.tree.flatten(packed)
    ] and type(samples.x) is type(packed)
    return samples if unchanged else type(samples)(packed, samples.y, samples.weights)
