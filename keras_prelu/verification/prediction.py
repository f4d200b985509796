"""What a model predicts, with everything that `predict`, `evaluate` and `fit` see of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.keras_internals import added_losses, keras_mask
from keras_prelu.graph.model_state import state_kept
from keras_prelu.typing import Tensor

__all__ = [
    "Prediction",
    "Value",
    "argument_shapes",
    "as_value",
    "predict_once",
    "shapes_at_build",
]

_TEXT = "SUO"
"""The kinds of NumPy's dtypes of text."""


@dataclass(frozen=True)
class Value:
    """A tensor on the host.

    Attributes:
        array: Array. Its values; those of a half-precision tensor are in float32.
        dtype: String. Its own dtype.
        mask: Array or None. Its mask, which losses and metrics apply.
    """

    array: np.ndarray
    dtype: str
    mask: np.ndarray | None


@dataclass(frozen=True)
class Prediction:
    """The outputs of a model for one batch.

    Attributes:
        structure: The structure of the outputs, with the number of an output in place of each.
        outputs: Tuple of `Value`.
        losses: Float. The sum of the losses that layers added during the call, such as those of
            activity regularizers. None in a reference whose losses are not compared.
    """

    structure: Any
    outputs: tuple[Value, ...]
    losses: float | None


def as_value(tensor: Tensor) -> Value:
    """Return a tensor, or what can be converted to one, as a `Value`."""
    if isinstance(tensor, np.ndarray) and tensor.dtype.kind in _TEXT:
        return Value(array=tensor, dtype="string", mask=None)
    mask = keras_mask(tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if getattr(tensor, "sparse", False) or type(tensor).__name__ in ("SparseTensor", "BCOO"):
        tensor = keras.ops.convert_to_tensor(tensor, sparse=False)
    if keras.backend.is_float_dtype(dtype) and dtype != "float64":
        tensor = keras.ops.cast(tensor, "float32")
    return Value(
        array=np.asarray(keras.ops.convert_to_numpy(tensor)),
        dtype=dtype,
        mask=None if mask is None else np.asarray(keras.ops.convert_to_numpy(mask)),
    )


def shapes_at_build(model: keras.Model) -> tuple[Any, dict[str, Any]]:
    """Return what Keras keeps of the arguments that a subclassed model was built with.

    Returns:
        The shapes of its one argument, or None, and those of several arguments by their names.
    """
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict") or {}
    by_argument = {name.removesuffix("_shape"): shape for name, shape in shapes.items()}
    return config.get("input_shape"), by_argument


def argument_shapes(model: keras.Model) -> dict[str, Any]:
    """Return the shapes that a subclassed model was built with, by the arguments of its `call`.

    Empty if it was built with one shape, or if the arguments of its `build` are not named after
    those of its `call`, as `features_shape` after `features`.
    """
    _, by_argument = shapes_at_build(model)
    known = set(model.call_signature_parameters) if by_argument else set()
    return by_argument if len(by_argument) > 1 and known.issuperset(by_argument) else {}


def predict_once(model: keras.Model, inputs: Any) -> Prediction:
    """Return what a model predicts for one batch, and leave the model's state as it is.

    The model is called as `predict` calls it, without its compilation: that takes longer than the
    call and may round in another way.

    Args:
        model: `keras.Model`.
        inputs: Array, or list or dict of arrays. The batch, in the structure that the model takes;
            a dict with the arguments of a subclassed model that takes several.

    Raises:
        Exception: Whatever the model raises for the inputs.
    """
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    with state_kept(model), without_gradients(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = _called(model, tensors)
        losses = sum(float(keras.ops.convert_to_numpy(loss)) for loss in added_losses(model))
    leaves = keras.tree.flatten(outputs)
    return Prediction(
        structure=keras.tree.pack_sequence_as(outputs, list(range(len(leaves)))),
        outputs=tuple(map(as_value, leaves)),
        losses=losses,
    )


def _called(model: keras.Model, tensors: Any) -> Any:
    names = argument_shapes(model)
    if names and isinstance(tensors, Mapping) and set(tensors) == set(names):
        return model(**tensors, training=False)
    return model(tensors, training=False)
