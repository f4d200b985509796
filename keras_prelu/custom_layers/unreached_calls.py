"""Rectifiers in the code of a layer to which no call of the layer comes.

An optional argument, a branch that depends on values, or `if training` may lead past a call. The
source says that it is there.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_prelu.custom_layers.code_calls import code_calls_of
from keras_prelu.custom_layers.instrumented_code import CallSite, call_sites
from keras_prelu.custom_layers.selections import (
    is_largest_of_multiples,
    is_maximum_with_zero,
    is_selection,
)
from keras_prelu.custom_layers.source_scan import functions_of_call, is_relu_of_library

__all__ = ["UnreachedRectifier", "unreached_rectifiers"]

_RELU_FUNCTIONS = ("leaky_relu", "relu", "relu6")
_CALLEE = re.compile(r"^([A-Za-z_][\w.]*)\(")
_NOT_REACHED = (
    "no call of the layer that was tried comes to it ({where}), such as one for training or with"
    " other arguments"
)


@dataclass(frozen=True)
class UnreachedRectifier:
    """A rectifier that was not seen.

    Attributes:
        function: String. The name of the function, such as "relu".
        source: String. File, line and function.
        reason: String. Why it was not seen, and what to do.
    """

    function: str
    source: str
    reason: str


def unreached_rectifiers(layer: Any) -> list[UnreachedRectifier]:
    """Return the rectifiers in the code of a layer that no call came to while it was heard.

    Args:
        layer: Layer whose code can be followed, and was heard. Those of layers inside are left out.
    """
    cls: Any = getattr(type(layer), "converted_from", type(layer))
    reached = code_calls_of(layer).reached
    found = []
    for function in functions_of_call(cls):
        for site in call_sites(function) or ():
            name = _rectifier_called(site, function)
            if name and site not in reached:
                source = f"{Path(site.file).name}:{site.line} in {site.function}"
                reason = _NOT_REACHED.format(where=source)
                found.append(UnreachedRectifier(function=name, source=source, reason=reason))
    return found


def _rectifier_called(site: CallSite, function: types.FunctionType) -> str:
    """Return the name of the ReLU function that a call calls, or "" if it calls another one."""
    if site.is_expression:
        return "relu"
    match = _CALLEE.match(site.text)
    if match is None:
        return ""
    first, *attributes = match[1].split(".")
    value = inspect.getclosurevars(function).nonlocals.get(first, function.__globals__.get(first))
    for attribute in attributes:
        value = getattr(value, attribute, None)
    if not is_relu_of_library(value):
        return ""
    while isinstance(value, functools.partial):
        value = value.func
    name = str(getattr(value, "__name__", "relu")).removesuffix("_")
    rectifies = {
        "max": is_largest_of_multiples,  # A number is an axis.
        "maximum": is_maximum_with_zero,
        "where": is_selection,
        "where_v2": is_selection,
    }.get(name)
    if rectifies is not None:
        return "relu" if rectifies(site.text) else ""
    return name if name in _RELU_FUNCTIONS else ""
