"""The values of a function at given numbers, without side effects on the model that applies it."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import types
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.eager import computing_eagerly

__all__ = ["reads_variables", "values_of"]


def values_of(function: Any, inputs: np.ndarray, dtype: str = "float32") -> np.ndarray | None:
    """Return what a function computes for an array, or None if it isn't a map of equal shapes.

    The function is applied to a tensor of its own, and what it prints is dropped. An object with a
    state is copied first, so that its state stays as it is.

    Args:
        function: Callable that takes one tensor.
        inputs: Array.
        dtype: String. Dtype of the tensor. Defaults to "float32".

    Returns:
        An array of float64; None if the function raises an error, or returns anything other than a
        tensor of the given shape and dtype.
    """
    silent = io.StringIO()
    try:
        with (
            computing_eagerly(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silent),
            contextlib.redirect_stderr(silent),
        ):
            warnings.simplefilter("ignore")
            # A copy, since a function may work in place and a tensor may share memory with arrays.
            tensor = keras.ops.cast(keras.ops.convert_to_tensor(inputs.astype("float32")), dtype)
            outputs = _without_state(function)(tensor)
            if (
                tuple(outputs.shape) != inputs.shape
                or keras.backend.standardize_dtype(outputs.dtype) != dtype
            ):
                return None
            outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
            return np.asarray(outputs, dtype=np.float64)
    except Exception:  # Whatever the user's code raises.
        return None


def reads_variables(function: Any) -> bool:
    """Return whether a function refers to variables, so that its values may change in training."""
    return any(_refers_to_variable(part) for part in _parts(function))


def _without_state(function: Any) -> Any:
    """Return a copy of a callable object of the user's; a function or a layer as it is."""
    owner = getattr(function, "__self__", None)
    if isinstance(function, functools.partial) or isinstance(owner, keras.Operation):
        return function
    is_function = isinstance(
        function, (types.FunctionType, types.BuiltinFunctionType, keras.Operation)
    )
    return function if is_function or _is_of_backend(function) else copy.deepcopy(function)


def _is_of_backend(function: Any) -> bool:
    """Return whether an object's class belongs to a backend, such as a function that JAX compiles.

    Such objects hold compiled code, which can't be copied.
    """
    return type(function).__module__.split(".")[0] in ("jax", "jaxlib", "tensorflow")


def _parts(function: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield the objects that a function refers to, with the attribute names that it reads."""
    if isinstance(function, functools.partial):
        for argument in (*function.args, *function.keywords.values()):
            yield argument, ()
        yield from _parts(function.func)
    elif isinstance(function, types.MethodType):
        code = getattr(function.__func__, "__code__", None)
        yield function.__self__, code.co_names if code else ()
    elif isinstance(function, types.FunctionType):
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # The cell is empty.
                yield cell.cell_contents, function.__code__.co_names
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            yield default, ()
    elif not isinstance(function, (types.BuiltinFunctionType, keras.Operation)):
        yield from ((value, ()) for value in getattr(function, "__dict__", {}).values())


def _refers_to_variable(part: tuple[Any, tuple[str, ...]]) -> bool:
    value, names = part
    attributes = getattr(value, "__dict__", {})
    return any(
        isinstance(item, keras.Variable)
        for item in (value, *(attributes.get(name) for name in names))
    )
