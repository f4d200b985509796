"""Reading the Python code of a class: the names in it, and its calls of ReLU functions.

The source is used if a layer's code can't be run on symbolic tensors, so that there is no graph to
inspect.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import keras

from keras_prelu.backend.keras_internals import own_attributes
from keras_prelu.custom_layers.function_sources import nested_codes
from keras_prelu.custom_layers.instrumented_code import call_sites
from keras_prelu.custom_layers.rectifier_functions import RECTIFYING_FUNCTIONS
from keras_prelu.graph.rectifiers import RECTIFYING
from keras_prelu.utils.libraries import LIBRARIES, is_of_user

__all__ = [
    "functions_of_call",
    "is_relu_of_library",
    "may_call_relu_functions",
    "named_relu_functions",
    "names_used_by_call",
    "rectifiers_in_source",
    "relu_functions_in_source",
]

_FUNCTIONS = ("relu", "relu6", "leaky_relu")
_LAYERS = frozenset({"Activation", *RECTIFYING})
"""Names of classes whose layers rectify, and may be created and called at once."""
_LOOKUPS = frozenset({"get", "deserialize", "getattr"})
"""Names of functions that return a function for its name, as `keras.activations.get` does."""


@functools.cache
def relu_functions_in_source(cls: Any) -> tuple[str, ...]:
    """Return the names of the ReLU functions that a class calls in its source.

    Args:
        cls: Class. Its methods are read, and those of its base classes that belong neither to
            Keras nor to a backend.

    Returns:
        A tuple of strings among "relu", "relu6" and "leaky_relu", one for each call; if the source
        is not available, one for each name.
    """
    names: list[str] = []
    for function in _methods(cls):
        # The names in the bytecode rule out most methods without parsing their source.
        if set(_FUNCTIONS) & _names_in(function.__code__):
            names += rectifiers_in_source(function)
    return tuple(names)


def may_call_relu_functions(layer: Any) -> bool:
    """Return whether the code of a layer may call a ReLU function, or look one up by its name.

    A layer of which this is not true need not be traced, which takes time.
    """
    cls: Any = getattr(layer.__class__, "converted_from", layer.__class__)
    return is_of_user(cls) and bool(
        _names_relu(cls)
        or relu_functions_in_source(cls)
        or named_relu_functions(layer)
        or any(_runs_code(value) for _, value in own_attributes(layer))
    )


def _runs_code(value: Any) -> bool:
    """Return whether an attribute holds a function or an object with code of the user's."""
    if isinstance(value, (list, tuple, dict)):
        return any(map(_runs_code, value.values() if isinstance(value, dict) else value))
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, types.FunctionType):
        return is_of_user(value)
    is_simple = value is None or isinstance(value, (bool, float, int, str, type, keras.Operation))
    return not is_simple and is_of_user(type(value))


def named_relu_functions(layer: Any) -> tuple[str, ...]:
    """Return the names of ReLU functions that a layer holds, or has in its code, and looks up.

    `keras.activations.get(self.activation)(x)` is such a case, where the attribute is a string.
    """
    cls: Any = layer.__class__
    names = names_used_by_call(cls)
    if not names & _LOOKUPS:
        return ()
    attributes = dict(own_attributes(layer))
    of_class = {name: inspect.getattr_static(cls, name, None) for name in names}
    held = [
        value
        for name, value in {**of_class, **attributes}.items()
        # Only strings: the comparison of a weight with a string is an error on TensorFlow.
        if name in names and isinstance(value, str)
    ]
    return tuple(name for name in _FUNCTIONS if name in (*_constants_of_call(cls), *held))


@functools.cache
def names_used_by_call(cls: Any) -> frozenset[str]:
    """Return the names in the code of a class's `call`, and in the methods that it may call."""
    return frozenset(name for code in _codes_of_call(cls) for name in code.co_names)


@functools.cache
def _constants_of_call(cls: Any) -> frozenset[Any]:
    constants = (constant for code in _codes_of_call(cls) for constant in code.co_consts)
    return frozenset(constant for constant in constants if isinstance(constant, str))


def _codes_of_call(cls: Any) -> Iterator[types.CodeType]:
    """Yield the code of `call`, and of the methods and functions of the user's that it names."""
    for function in functions_of_call(cls):
        yield from nested_codes(function.__code__)


@functools.cache
def functions_of_call(cls: Any) -> tuple[types.FunctionType, ...]:
    """Return `call` of a class, and the user's methods and functions that it may call."""
    found: dict[int, types.FunctionType] = {}
    waiting = [inspect.getattr_static(cls, "call", None)]
    while waiting:
        function = _plain_function(waiting.pop())
        if function is None or id(function) in found or not is_of_user(function):
            continue
        found[id(function)] = function
        waiting += [inspect.getattr_static(cls, name, None) for name in _names_of(function)]
        waiting += _values_of(function)
    return tuple(found.values())


def _values_of(function: types.FunctionType) -> list[Any]:
    """Return what a function refers to in its module, its closure and its defaults.

    Also what it names in other modules of the user's, and what lists and dicts hold.
    """
    names = _names_of(function)
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    for module in [value for value in values if isinstance(value, types.ModuleType)]:
        if module.__name__.split(".")[0] not in LIBRARIES:
            values += [vars(module)[name] for name in names if name in vars(module)]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # The cell is empty.
            values.append(cell.cell_contents)
    values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    objects = [
        value
        for value in values
        if callable(value) and not isinstance(value, (type, types.FunctionType))
    ]
    return values + _items_of(values) + [type(value).__call__ for value in objects]


def _names_of(function: types.FunctionType) -> set[str]:
    return _names_in(function.__code__)


def _plain_function(method: Any) -> types.FunctionType | None:
    """Return the function that a method is, under properties and decorators."""
    if isinstance(method, property):
        method = method.fget
    elif isinstance(method, functools.cached_property):
        method = method.func
    elif isinstance(method, (classmethod, staticmethod)):
        method = method.__func__
    method = getattr(method, "python_function", method)  # Of a `tf.function`.
    method = inspect.unwrap(method) if callable(method) else None
    return method if isinstance(method, types.FunctionType) else None


def _names_in(code: types.CodeType) -> set[str]:
    return {name for inner in nested_codes(code) for name in inner.co_names}


@functools.cache
def _names_relu(cls: Any) -> bool:
    """Return whether the code of `call` refers to a function that may rectify, under any name.

    Or whether it has an expression that does so.
    """
    return any(
        bool(_names_of(function) & (RECTIFYING_FUNCTIONS | _LAYERS))
        or any(site.is_expression for site in call_sites(function) or ())
        or any(map(is_relu_of_library, _values_of(function)))
        or any(map(is_relu_of_library, _values_of_class(cls, function)))
        for function in functions_of_call(cls)
    )


def _values_of_class(cls: Any, function: types.FunctionType) -> list[Any]:
    """Return the attributes of a class that a function names, and what lists and dicts hold."""
    values = [inspect.getattr_static(cls, name, None) for name in _names_of(function)]
    return values + _items_of(values)


def _items_of(values: list[Any]) -> list[Any]:
    return [
        item
        for value in values
        if isinstance(value, (list, tuple, dict))
        for item in (value.values() if isinstance(value, dict) else value)
    ]


def is_relu_of_library(value: Any) -> bool:
    """Return whether a value is a function of Keras's or a backend's that may rectify, or a ReLU
    layer."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, keras.layers.Layer):
        return type(value).__name__ in _LAYERS
    return getattr(value, "__name__", None) in RECTIFYING_FUNCTIONS and not is_of_user(value)


def _methods(cls: Any) -> Iterator[types.FunctionType]:
    """Yield the methods of a class and of its base classes outside Keras and the backends."""
    for base in cls.__mro__:
        if is_of_user(base):
            for method in vars(base).values():
                function = _plain_function(method)
                if function is not None:
                    yield function


def rectifiers_in_source(function: types.FunctionType) -> list[str]:
    """Return the names of the ReLU functions that a function calls, as `relu_functions_in_source`
    does for a class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return sorted(set(_FUNCTIONS) & _names_in(function.__code__))
    names = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            names.append(node.func.id)
        elif isinstance(node.func, ast.Attribute) and not _is_attribute_of_self(node.func.value):
            names.append(node.func.attr)
    return [name for name in names if name in _FUNCTIONS]


def _is_attribute_of_self(node: ast.expr) -> bool:
    """Return whether a name such as `self.ops` begins with `self`.

    What the layer holds is found among its attributes instead.
    """
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"
