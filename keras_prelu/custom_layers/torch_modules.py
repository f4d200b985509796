"""Rectifiers inside PyTorch's modules, which Keras runs in a `TorchModuleWrapper`.

A module that is itself a rectifier is recognized like a layer (`graph.rectifier_recognition`).
Those inside other modules are listed and not converted: Keras's wrapper calls a module through
PyTorch's code, of which `code_calls` makes no copy; the file of a model holds the module pickled,
without places for slopes; and nothing says what a module does with the outputs of its rectifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_prelu.custom_layers.source_scan import rectifiers_in_source
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.utils.libraries import is_of_user

__all__ = ["TorchRectifier", "is_torch_wrapper", "rectifiers_of_modules"]

_SLOPES = {"LeakyReLU": 0.01, "PReLU": None, "RReLU": None, "ReLU": 0.0, "ReLU6": 0.0}
_REASON = (
    "a module of PyTorch applies it: give the Keras layer or model a keras.layers.ReLU() in its"
    " place, outside of the module"
)


class TorchRectifier(NamedTuple):
    """A rectifier inside a module.

    Attributes:
        path: String. The names that lead to the module that applies it, joined by "/".
        module: Module of PyTorch.
        rectifier: `Rectifier`. It is not convertible.
    """

    path: str
    module: Any
    rectifier: Rectifier


def is_torch_wrapper(layer: Any) -> bool:
    """Return whether a layer runs a module of PyTorch."""
    return type(layer).__name__ == "TorchModuleWrapper" and hasattr(layer, "module")


def rectifiers_of_modules(module: Any) -> Iterator[TorchRectifier]:
    """Yield the rectifiers inside a module, at any depth, by their classes and names in sources."""
    for name, inner in module.named_modules():
        path = name.replace(".", "/")
        kind = type(inner).__name__
        if kind in _SLOPES and not is_of_user(type(inner)):
            slope = getattr(inner, "negative_slope", _SLOPES[kind])
            cap = 6.0 if kind == "ReLU6" else None
            yield TorchRectifier(path, inner, Rectifier("relu", slope, cap, reason=_REASON))
        elif is_of_user(type(inner)):
            for function in rectifiers_in_source(type(inner).forward):
                cap = 6.0 if function == "relu6" else None
                slope = 0.01 if function == "leaky_relu" else 0.0
                yield TorchRectifier(path, inner, Rectifier("code", slope, cap, reason=_REASON))
