"""The inputs that a model takes, for every kind of model.

Functional models, and Sequential models with an input shape, declare their inputs. Other models,
such as subclassed ones, take whatever their Python code takes: their inputs are those of the
samples, and the code is called with symbolic tensors to find out whether it accepts them.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.keras_internals import Functional, direct_sublayers
from keras_prelu.backend.sequential_specs import specs_by_call
from keras_prelu.data.declarations import (
    check_model,
    declares_inputs,
    has_call,
    has_call_of_its_own,
)
from keras_prelu.data.model_inputs import InputSignature, ModelInput
from keras_prelu.errors import DataError, reason_of

__all__ = [
    "called_on_symbols",
    "input_signature",
    "is_one_array",
    "with_declared_inputs",
]

# For models that do not declare their inputs, the shapes and types that their code accepts.
_ACCEPTED: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def input_signature(model: keras.Model, x: Any, role: str = "samples") -> InputSignature:
    """Return the inputs of a model.

    Args:
        model: Keras model. It is built.
        x: Samples in the structure that the model is called with, an array or a structure of
            arrays. Only those of a model that does not declare its inputs matter.
        role: Str. Name of the samples in messages. Defaults to "samples".

    Raises:
        DataError: The model does not declare its inputs, and can't be called with these samples.
    """
    check_model(model)
    if declares_inputs(model):
        tensors = list(model.inputs)
        argument = tensors[0] if len(tensors) == 1 else tensors
        if isinstance(model, Functional):
            argument = model.input
        return InputSignature(
            inputs=tuple(
                ModelInput(name=tensor.name, shape=tuple(tensor.shape), dtype=tensor.dtype)
                for tensor in tensors
            ),
            structure=keras.tree.pack_sequence_as(argument, list(range(len(tensors)))),
        )
    signature = _signature_of_samples(x)
    _check_accepted(model, signature, role)
    return signature


def with_declared_inputs(model: keras.Model, x: Any, role: str = "samples") -> keras.Model:
    """Return a model with a graph that computes what a model does.

    The arguments are those of `called_on_symbols`.

    Returns:
        The model itself if it declares its inputs; otherwise a functional model whose only layer is
        that model.

    Raises:
        DataError: The model can't be called with symbolic tensors like these samples.
    """
    if declares_inputs(model) and not has_call_of_its_own(model):
        return model
    _check_called(model)
    return called_on_symbols(model, x, role)


def called_on_symbols(model: keras.Model, x: Any, role: str = "samples") -> keras.Model:
    """Return a functional model whose only layer is a model, called with symbolic tensors.

    Args:
        model: Keras model. It is built.
        x: Array, or structure of arrays. Samples that the model can be called with.
        role: Str. Name of the samples in messages. Defaults to "samples".

    Raises:
        DataError: The model can't be called with symbolic tensors like these samples.
    """
    _check_callable(model)
    signature = _signature_of_samples(x)
    try:
        return _over_symbolic_inputs(model, signature)
    except Exception as error:  # The user's code may raise anything.
        raise DataError(_not_callable(model, signature, role, error)) from error


def is_one_array(values: Any) -> bool:
    """Return whether a list, nested or not, holds only scalars, so that it stands for one array."""
    return all(np.ndim(value) == 0 for value in keras.tree.flatten(values))


def _signature_of_samples(x: Any) -> InputSignature:
    """Return the inputs that a model has if it is called with these samples."""
    if isinstance(x, (list, tuple)) and is_one_array(x):
        x = np.asarray(x)
    paths_and_arrays = keras.tree.flatten_with_path(x)
    inputs = tuple(
        ModelInput(
            name="/".join(map(str, path)) or "inputs",
            shape=(None, *np.shape(array)[1:]),
            dtype=_dtype(array),
        )
        for path, array in paths_and_arrays
    )
    return InputSignature(
        inputs=inputs, structure=keras.tree.pack_sequence_as(x, list(range(len(inputs))))
    )


def _dtype(array: Any) -> str:
    """Return the type in which `fit` and `predict` hand an array to a model."""
    dtype = np.dtype(array.dtype) if isinstance(array, np.ndarray) else np.asarray(array[:1]).dtype
    if dtype.kind in "SUO":
        return "string"
    return keras.config.floatx() if dtype.kind == "f" else dtype.name


def _check_accepted(model: keras.Model, signature: InputSignature, role: str) -> None:
    """Check once for each shape that a model's code accepts samples of it."""
    _check_called(model)
    accepted = _ACCEPTED.setdefault(model, set())
    key = repr(signature)
    if key in accepted:
        return
    try:
        _over_symbolic_inputs(model, signature)
    except Exception:  # The code may need values, which symbolic tensors do not have.
        sizes = [[1 if size is None else size for size in one.shape] for one in signature.inputs]
        zeros = [
            np.full(size, "") if one.dtype == "string" else np.zeros(size, one.dtype)
            for one, size in zip(signature.inputs, sizes, strict=True)
        ]
        try:
            with without_gradients():
                model(signature.pack([keras.ops.convert_to_tensor(zero) for zero in zeros]))
        except Exception as error:
            raise DataError(_not_callable(model, signature, role, error)) from error
    accepted.add(key)


def _check_called(model: keras.Model) -> None:
    _check_callable(model)
    if not model.built and not model.get_build_config():
        raise DataError(
            f"Model '{model.name}' ({type(model).__name__}) has no weights yet, because it was"
            " never called. Call it once on samples."
        )


def _check_callable(model: keras.Model) -> None:
    if not has_call(model):
        names = " and ".join(f"'{layer.name}'" for layer in direct_sublayers(model))
        raise DataError(
            f"Model '{model.name}' ({type(model).__name__}) has no call() method, so it has no"
            f" outputs. Give the models that it is made of instead: {names}."
        )


def _over_symbolic_inputs(model: keras.Model, signature: InputSignature) -> keras.Model:
    # Keras wants the inputs of a dict to have the names of their keys, except further inside.
    is_named = isinstance(signature.structure, Mapping)
    names = [one.name if is_named and "/" not in one.name else None for one in signature.inputs]
    inputs = signature.pack(
        [
            keras.Input(one.shape[1:], dtype=one.dtype, name=name)
            for one, name in zip(signature.inputs, names, strict=True)
        ]
    )
    with specs_by_call(model):
        return keras.Model(inputs, model(inputs), name=model.name)


def _not_callable(
    model: keras.Model, signature: InputSignature, role: str, error: Exception
) -> str:
    shapes = " and ".join(
        str(("batch", *one.shape[1:])).replace("None", "any") for one in signature.inputs
    )
    return (
        f"Model '{model.name}' ({type(model).__name__}) can't be called with the {role}, of shape"
        f" {shapes}: {reason_of(error)}."
    )
