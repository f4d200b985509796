"""The values of a function at given numbers, without side effects on the model that applies it."""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import inspect
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.eager import computing_eagerly
from keras_prelu.utils.libraries import LIBRARIES, package_of
from keras_prelu.utils.quiet import nothing_printed

__all__ = ["reads_variables", "referred_to", "values_of"]


def values_of(function: Any, inputs: np.ndarray, dtype: str = "float32") -> np.ndarray | None:
    """Return what a function computes for an array, or None if it fails.

    The function is applied to a tensor of its own, and what it prints is dropped. An object with a
    state is copied first, so that its state stays as it is.

    Args:
        function: Callable that takes one tensor.
        inputs: Array.
        dtype: String. Dtype of the tensor. Defaults to "float32".

    Returns:
        An array of float64, which is empty if the function returns anything other than a tensor of
        the given shape and dtype; None if it raises an error.
    """
    try:
        with computing_eagerly(), warnings.catch_warnings(), nothing_printed():
            warnings.simplefilter("ignore")
            # A copy, since a function may work in place and a tensor may share memory with arrays.
            tensor = keras.ops.cast(keras.ops.convert_to_tensor(inputs.astype("float32")), dtype)
            outputs = _without_state(function)(tensor)
            if not _is_like(outputs, inputs.shape, dtype):
                return np.empty(0)
            outputs = keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32"))
            return np.asarray(outputs, dtype=np.float64)
    except Exception:  # Whatever the user's code raises.
        return None


def reads_variables(function: Any) -> bool:
    """Return whether the values of a function may change in training.

    It refers to variables, or calls layers that have variables or get them when they are called.
    """
    return any(_may_change(reference) for reference in _references(function))


def referred_to(function: Any) -> list[Any]:
    """Return the objects that a function refers to, directly or through other functions.

    These are its owner if it is a method, what it captures, its defaults, what it names in its
    module, and the attributes of these that it names.
    """
    return [reference.value for reference in _references(function)]


@dataclass(frozen=True)
class _Reference:
    """An object that a function refers to, and whether it does so only to read attributes."""

    value: Any
    is_owner: bool = False


def _references(function: Any) -> list[_Reference]:
    found: dict[Any, _Reference] = {}
    waiting = [function]
    while waiting:
        for reference in _direct_references(waiting.pop()):
            value = reference.value
            if _identity(value) not in found:
                found[_identity(value)] = reference
                if _may_refer(value):
                    waiting.append(value)
    return list(found.values())


def _identity(value: Any) -> Any:
    """Return what is equal for the same object; methods are new objects each time."""
    if isinstance(value, types.MethodType):
        return id(value.__func__), id(value.__self__)
    return id(value)


def _is_like(outputs: Any, shape: tuple[int, ...], dtype: str) -> bool:
    return (
        hasattr(outputs, "shape")
        and tuple(outputs.shape) == shape
        and keras.backend.standardize_dtype(outputs.dtype) == dtype
    )


def _without_state(function: Any) -> Any:
    """Return a copy of a callable object of the user's; a function or a layer as it is."""
    if isinstance(function, functools.partial):
        inner = _without_state(function.func)
        return functools.partial(inner, *function.args, **function.keywords)
    is_function = isinstance(
        function, (types.FunctionType, types.BuiltinFunctionType, keras.Operation)
    )
    is_of_layer = isinstance(getattr(function, "__self__", None), keras.Operation)
    if is_function or is_of_layer or _is_of_backend(function):
        return function
    return copy.deepcopy(function)


def _is_of_backend(function: Any) -> bool:
    """Return whether an object's class belongs to a backend, such as a function that JAX compiles.

    Such objects hold compiled code, which can't be copied.
    """
    return package_of(type(function)) in ("jax", "jaxlib", "tensorflow")


def _may_refer(value: Any) -> bool:
    """Return whether a value is a function of the user's."""
    is_function = callable(value) and not isinstance(value, (type, keras.Operation))
    return is_function and package_of(value) not in LIBRARIES


def _direct_references(function: Any) -> Iterator[_Reference]:
    if isinstance(function, functools.partial):
        values = [function.func, *function.args, *function.keywords.values()]
    elif isinstance(function, types.MethodType):
        yield _Reference(function.__self__, is_owner=True)
        yield from _with_attributes(function.__self__, function.__func__)
        values = [function.__func__]
    elif isinstance(function, types.FunctionType):
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # The cell is empty.
                yield from _with_attributes(cell.cell_contents, function)
        values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        names = _global_names(function.__code__)
        values += [function.__globals__[name] for name in names if name in function.__globals__]
    elif isinstance(function, types.BuiltinFunctionType) or _is_of_backend(function):
        values = []
    else:
        values = list(getattr(function, "__dict__", {}).values())
    yield from map(_Reference, values)


@functools.cache
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names that code reads from its module, also in functions that it defines.

    Names of attributes are in `co_names` as well, and may be those of something in the module.
    """
    own = [each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"]
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return tuple(dict.fromkeys([*own, *(name for each in inner for name in _global_names(each))]))


def _with_attributes(value: Any, function: Any) -> Iterator[_Reference]:
    """Yield an object, and those of its attributes that a function names."""
    attributes = getattr(value, "__dict__", {})
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    named = [attributes[name] for name in names if name in attributes]
    has_method = any(hasattr(type(value), name) for name in names)
    yield _Reference(value, is_owner=(bool(named) or has_method) and "call" not in names)
    yield from map(_Reference, named)
    for name in names:
        method = inspect.getattr_static(type(value), name, None)
        if isinstance(method, types.FunctionType):
            yield _Reference(types.MethodType(method, value))


def _may_change(reference: _Reference) -> bool:
    value = reference.value
    if isinstance(value, keras.layers.Layer):
        return not reference.is_owner and (not value.built or bool(value.variables))
    is_variable = isinstance(value, keras.Variable)  # Or one of TensorFlow's or PyTorch's.
    is_assigned = hasattr(value, "assign") and hasattr(value, "trainable")
    return is_variable or is_assigned or getattr(value, "requires_grad", False) is True
