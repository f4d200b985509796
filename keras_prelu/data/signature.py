"""The inputs that a model takes, for every kind of model.

Functional models, and Sequential models with an input shape, declare their inputs. Other models,
such as subclassed ones, take whatever their Python code takes: their inputs are those of the
samples, and the code is called with symbolic tensors to find out whether it accepts them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import Functional, direct_sublayers
from keras_prelu.backend.sequential_specs import specs_by_call
from keras_prelu.errors import DataError, InvalidArgumentError, reason_of
from keras_prelu.utils.suggestions import few_of

__all__ = [
    "InputSignature",
    "ModelInput",
    "called_on_symbols",
    "check_model",
    "declares_inputs",
    "expected_shape",
    "has_call",
    "input_count",
    "input_names",
    "input_signature",
    "is_one_array",
    "output_names",
    "with_declared_inputs",
]

# For models that do not declare their inputs, the shapes and types that their code accepts.
_ACCEPTED: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: Str. Its name in messages, which is also a key for it in a dict of samples.
        shape: Tuple with the batch axis first. Unknown sizes are None.
        dtype: Str. The type in which the model reads it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class InputSignature:
    """The inputs of a model and the structure in which the model is called with them.

    Attributes:
        inputs: Tuple of `ModelInput`, in the order of the model's inputs.
        structure: Structure of the model's argument, with the position of an input at each leaf.
    """

    inputs: tuple[ModelInput, ...]
    structure: Any

    @property
    def batch_size(self) -> int | None:
        """The number of samples in a batch if the model prescribes it, else None."""
        return self.inputs[0].shape[0]

    def pack(self, arrays: Sequence[Any]) -> Any:
        """Return arrays in the structure in which the model takes them.

        Args:
            arrays: Sequence with an array for each input, in the order of the inputs.
        """
        return keras.tree.map_structure(lambda position: arrays[position], self.structure)

    def unpack(self, x: Any, role: str) -> list[Any]:
        """Return the arrays of a structure in the order of the inputs.

        Args:
            x: Array, or a list or dict of arrays, or the model's own structure of arrays. Keys of a
                dict are those of the model's structure or the names of the inputs; others are left
                out.
            role: Str. Name of the samples in messages.

        Raises:
            DataError: The structure does not fit the model.
        """
        names = [model_input.name for model_input in self.inputs]
        if isinstance(x, Mapping) and not self._has_keys(x):
            missing = [name for name in self._keys() if name not in x]
            by_name = [name for name in names if name not in x]
            if by_name:
                name = (missing or by_name)[0]
                raise DataError(
                    f"The {role} lack the model's input '{name}'. They have: {few_of(list(x))}."
                )
            return [x[name] for name in names]
        arrays: list[Any] = [None] * len(names)
        if len(names) == 1 and not isinstance(x, Mapping):
            return [x[0] if self._is_list_of_one(x) else x]
        try:
            self._collect(self.structure, x, arrays)
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(self._mismatch(x, role)) from error
        return arrays

    def _keys(self) -> list[str]:
        return list(self.structure) if isinstance(self.structure, Mapping) else []

    def _has_keys(self, x: Mapping[str, Any]) -> bool:
        return bool(self._keys()) and all(key in x for key in self._keys())

    def _is_list_of_one(self, x: Any) -> bool:
        """Return whether x is the only input in a list, as Keras also takes it."""
        return (
            isinstance(x, (list, tuple))
            and len(x) == 1
            and np.ndim(x[0]) == len(self.inputs[0].shape)
        )

    def _collect(self, structure: Any, x: Any, arrays: list[Any]) -> None:
        if isinstance(structure, Mapping) and isinstance(x, Mapping):
            for key, part in structure.items():
                self._collect(part, x[key], arrays)
        elif isinstance(structure, (Mapping, list, tuple)):
            if not isinstance(x, (list, tuple)):
                raise TypeError("no list")
            if isinstance(structure, Mapping):
                # Keras flattens a dict in the order of its keys and refuses a list if the model was
                # made with its inputs in another order, since it can't tell which was meant.
                if list(structure) != sorted(structure):
                    raise TypeError("no dict")
                structure = [structure[key] for key in sorted(structure)]
            for part, value in zip(structure, x, strict=True):
                self._collect(part, value, arrays)
        else:
            arrays[structure] = x

    def _mismatch(self, x: Any, role: str) -> str:
        count = len(x) if isinstance(x, (list, tuple)) else 1
        keys = self._keys()
        advice = (
            f"a dict with the keys {', '.join(map(repr, keys))}"
            if keys
            else "a list or a dict of arrays"
        )
        return f"The model has {len(self.inputs)} inputs, the {role} have {count}. Give {advice}."


def check_model(model: Any, name: str = "model") -> None:
    """Check that an argument is a Keras model.

    Args:
        model: Any. What the user passed.
        name: Str. Name of the argument. Defaults to "model".

    Raises:
        InvalidArgumentError: A ValueError; it is something else.
    """
    if not isinstance(model, keras.Model):
        advice = (
            f" Load the file first: keras_prelu.load_model({str(model)!r})."
            if isinstance(model, (str, os.PathLike))
            else ""
        )
        raise InvalidArgumentError(
            f"`{name}` must be a keras.Model.{advice} Received: {type(model).__name__}"
        )


def declares_inputs(model: Any) -> bool:
    """Return whether a model states which inputs it takes, independently of samples."""
    if isinstance(model, keras.Sequential):
        return type(model).call is keras.Sequential.call and bool(getattr(model, "inputs", None))
    return isinstance(model, Functional)


def has_call(model: Any) -> bool:
    """Return whether a model can be called: a GAN, for example, may only hold models and losses."""
    cls: Any = getattr(type(model), "converted_from", type(model))
    return cls.call is not keras.Model.call


def input_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names by which a model takes its inputs; none if it does not declare them.

    Those of a model that takes a dict are its keys.
    """
    if not declares_inputs(model):
        return ()
    structure = None if isinstance(model, keras.Sequential) else model.input
    if isinstance(structure, Mapping):
        return tuple(structure)
    return tuple(tensor.name for tensor in model.inputs)


def output_names(model: keras.Model) -> tuple[str, ...]:
    """Return the names by which a model takes labels; none if it does not declare its outputs.

    Those of a model that returns a dict are its keys.
    """
    if not isinstance(model, Functional):
        return ()
    if isinstance(model.output, Mapping):
        return tuple(model.output)
    return tuple(model.output_names)


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

    Args:
        model: Keras model. It is built.
        x: Array, or structure of arrays. Samples that the model can be called with.
        role: Str. Name of the samples in messages. Defaults to "samples".

    Returns:
        The model itself if it declares its inputs; otherwise a functional model whose only layer is
        that model.

    Raises:
        DataError: The model can't be called with symbolic tensors like these samples.
    """
    if declares_inputs(model):
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


def expected_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    """Return the shape of one sample that a model takes, or None if it takes several inputs.

    That of a model that does not declare its inputs is the one that it was built with.
    """
    if declares_inputs(model):
        return tuple(model.inputs[0].shape[1:]) if len(model.inputs) == 1 else None
    shape = (model.get_build_config() or {}).get("input_shape")
    is_shape = isinstance(shape, (list, tuple)) and all(
        size is None or isinstance(size, int) for size in shape
    )
    return tuple(shape[1:]) if is_shape and shape else None


def input_count(model: keras.Model) -> int | None:
    """Return the number of arrays that a model takes, or None if it is not known.

    That of a model that does not declare its inputs is the one that it was built with.
    """
    if declares_inputs(model):
        return len(model.inputs)
    config: Mapping[str, Any] = model.get_build_config() or {}
    shapes = config.get("input_shape", config.get("shapes_dict"))
    if isinstance(shapes, Mapping):
        return len(shapes)
    if not isinstance(shapes, (list, tuple)):
        return None
    is_one_shape = all(size is None or isinstance(size, int) for size in shapes)
    return 1 if is_one_shape else len(shapes)


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
