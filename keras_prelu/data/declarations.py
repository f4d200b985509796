"""What a model declares of its inputs and outputs, independently of samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.backend.keras_internals import Functional
from keras_prelu.errors import InvalidArgumentError

__all__ = [
    "check_model",
    "declares_inputs",
    "expected_shape",
    "has_call",
    "has_call_of_its_own",
    "input_count",
    "input_names",
    "output_names",
]


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


def has_call_of_its_own(model: Any) -> bool:
    """Return whether the outputs of a model that declares inputs are not those of its graph."""
    return isinstance(model, Functional) and type(model).call is not Functional.call


def has_call(model: Any) -> bool:
    """Return whether a model can be called: a GAN, for example, may only hold models and losses."""
    cls: Any = getattr(type(model), "converted_from", type(model))
    return cls.call is not keras.Model.call


def declared_input(model: keras.Model) -> Any:
    """Return the structure of symbolic tensors that a model with a graph takes as its input.

    A Sequential has no attribute `input` unless another model calls it.
    """
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


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
