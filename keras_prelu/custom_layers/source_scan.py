"""Reading the Python source of a class for calls of ReLU functions.

Used if a layer's code can't be run on symbolic tensors, so that there is no graph to inspect.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

__all__ = ["relu_functions_in_source"]

_FUNCTIONS = ("relu", "relu6", "leaky_relu")
_LIBRARIES = ("builtins", "jax", "keras", "keras_prelu", "tensorflow", "torch")


@functools.cache
def relu_functions_in_source(cls: Any) -> tuple[str, ...]:
    """Return the names of the ReLU functions that a class calls in its source.

    Args:
        cls: Class. Its methods are read, and those of its base classes that belong neither to
            Keras nor to a backend.

    Returns:
        A tuple of strings among "relu", "relu6" and "leaky_relu", one for each call.
    """
    names: list[str] = []
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in _LIBRARIES:
            continue
        for function in vars(base).values():
            # The names in the bytecode rule out most methods without parsing their source.
            if inspect.isfunction(function) and set(_FUNCTIONS) & set(function.__code__.co_names):
                names += _called_names(function)
    return tuple(names)


def _called_names(function: Callable[..., Any]) -> list[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return []
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
