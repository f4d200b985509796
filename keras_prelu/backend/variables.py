"""The values of variables, which TensorFlow, JAX and PyTorch store and share in different ways."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

__all__ = [
    "assign_copy",
    "copy_tensor",
    "held_value",
    "is_value_of",
    "outside_of_graphs",
    "restore",
    "snapshot",
    "values_kept_through_errors",
]


def assign_copy(target: keras.Variable, source: keras.Variable) -> None:
    """Assign the value of one variable to another without sharing memory.

    Later changes of one variable don't affect the other. On JAX both would otherwise hold one
    array; a training step of one model donates the array, and the other model loses it. PyTorch
    copies into the variable's memory, and TensorFlow copies when either variable is written to, so
    an explicit copy would be superfluous.

    Args:
        target: `keras.Variable`. The variable that is assigned.
        source: `keras.Variable`. A variable of the same shape.
    """
    target.assign(keras.ops.copy(source) if keras.backend.backend() == "jax" else source)


def copy_tensor(value: Any) -> Any:
    """Return a copy of a tensor, or of a variable of the backend, that shares no memory with it.

    Tensors of TensorFlow can't be written to, and are returned as they are.

    Args:
        value: Tensor or variable of the backend.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return copy.deepcopy(value) if hasattr(value, "assign") else value
    if backend != "torch":
        return keras.ops.copy(value)
    import torch

    tensor = value.detach().clone()
    if isinstance(value, torch.nn.Parameter):
        return torch.nn.Parameter(tensor, requires_grad=value.requires_grad)
    return tensor.requires_grad_(value.requires_grad)


def is_value_of(tensor: Any, variable: keras.Variable) -> bool:
    """Return whether a tensor of the backend is the value of a variable, or, on PyTorch, a view.

    Args:
        tensor: Tensor of the backend.
        variable: `keras.Variable`.
    """
    value = variable.value
    if keras.backend.backend() != "torch":
        return tensor is value
    return bool(tensor.untyped_storage().data_ptr() == value.untyped_storage().data_ptr() != 0)


def snapshot(variable: Any) -> np.ndarray:
    """Return a copy of a variable's value as a NumPy array.

    `keras.ops.convert_to_numpy` may return a view: on PyTorch, a view of memory that the next
    `assign` overwrites; on JAX, a view of a buffer that the next training step donates.
    `other.assign(variable)` shares such a buffer too.

    Args:
        variable: `keras.Variable`. The variable to copy.
    """
    return np.array(keras.ops.convert_to_numpy(variable), copy=True)


def held_value(variable: Any) -> Any:
    """Return a copy of a variable's value for `restore`.

    Arrays of several hosts, which JAX can't convert to NumPy, stay on their devices.

    Args:
        variable: `keras.Variable`. The variable to copy.
    """
    if keras.backend.backend() != "jax":
        return snapshot(variable)
    # The variable's own array tells whether the variable was assigned to in the meantime. It can't
    # be assigned again, since even `predict` donates it.
    return variable.value, keras.ops.copy(variable.value)


def restore(variable: Any, held: Any) -> None:
    """Assign a value that `held_value` returned, unless the variable still has it."""
    if keras.backend.backend() == "jax":
        own, copy = held
        if _jax_value(variable) is not own:
            variable.assign(copy)
    elif snapshot(variable).tobytes() != held.tobytes():
        variable.assign(held)


@contextmanager
def values_kept_through_errors(model: keras.Model) -> Iterator[None]:
    """Give a model's variables their values back if `evaluate` or `predict` in the body fails.

    On JAX, Keras takes the values away while it runs the model, and gives them back at the end. The
    last ones are in what `jax_state_sync` assigns, or, before the first step, in the arrays that
    the variables had. They are lost if the device fails within a step.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    held = [(variable, _jax_value(variable)) for variable in model.variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()
        for variable, value in held:
            if _jax_value(variable) is None and value is not None and not value.is_deleted():
                variable.assign(value)
        raise


def _jax_value(variable: Any) -> Any:
    """Return a variable's value, or None if it has none.

    Keras takes the values of a model's variables away while it trains or evaluates on JAX, and an
    error there leaves the variables without.
    """
    try:
        return variable.value
    except TypeError:  # The variable has no initializer any more.
        return None


def outside_of_graphs() -> AbstractContextManager[Any]:
    """Return a context in which tensors have values.

    They have values even while a `tf.function` that builds a layer is being traced.
    """
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.init_scope()
