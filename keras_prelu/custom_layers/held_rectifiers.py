"""Rectifiers that a custom layer or a subclassed model holds in its attributes.

An address such as `blocks[0]/relu` consists of attributes and indices, as in the names of saved
weights. It is also valid in a copy of the layer that is rebuilt from its configuration, in which
layers with automatic names have different names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import own_attributes
from keras_prelu.custom_layers.code_calls import CALL_AS_WRITTEN, CodeCalls
from keras_prelu.custom_layers.followed_functions import is_followed_method
from keras_prelu.custom_layers.source_scan import names_used_by_call
from keras_prelu.custom_layers.torch_modules import is_torch_wrapper, rectifiers_of_modules
from keras_prelu.graph import functional
from keras_prelu.graph.held_functions import is_function
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.rectifier_recognition import is_of_library, recognize, recognize_function
from keras_prelu.graph.rectifiers import RECURRENT, Rectifier

__all__ = ["OWN_LAYERS", "HeldRectifier", "find_held_rectifiers"]

OWN_LAYERS = "keras_prelus"
"""The attribute under which a converted layer holds its PReLU layers."""
_OWN_ATTRIBUTES = frozenset({CALL_AS_WRITTEN, OWN_LAYERS, "_removers", "_stand_ins", "call"})
"""Attributes that the user's class does not set: those of a converted layer, and patches."""


@dataclass(frozen=True)
class HeldRectifier:
    """An attribute through which a layer applies a rectifier.

    Attributes:
        address: String. The attributes and indices that lead from the holder to the rectifier.
        path: String. The address for people: inside models, layer names instead of indices.
        target: `HookTarget`. The object and its attribute: "call" of a ReLU layer, "activation" of
            a Dense, or any attribute that holds a function, or a list or dict with functions.
        rectifier: `Rectifier`. What is applied.
        source: String. Of a function that code calls, where it does so; empty otherwise.
    """

    address: str
    path: str
    target: HookTarget
    rectifier: Rectifier
    source: str = ""

    @property
    def owner(self) -> Any:
        """The object that has the attribute."""
        return self.target.owner

    @property
    def applier(self) -> Any:
        """The layer or object that has the attribute, or whose code it is."""
        return self.owner.layer if isinstance(self.owner, CodeCalls) else self.owner

    @property
    def layer(self) -> str:
        """Class name of the layer or object that has the attribute, or whose code it is."""
        return type(self.applier).__name__


def find_held_rectifiers(holder: Any) -> list[HeldRectifier]:
    """Return the rectifiers inside a layer, at any depth, in the order of the attributes.

    An object that several attributes lead to is listed once.
    """
    return list(_Search().inside(holder, "", "", in_loop=False))


class _Search:
    def __init__(self) -> None:
        self._seen: set[int] = set()

    def inside(
        self, layer: Any, address: str, path: str, *, in_loop: bool
    ) -> Iterator[HeldRectifier]:
        self._seen.add(id(layer))
        if is_torch_wrapper(layer):
            yield from _inside_module(layer.module, address, path)
            return
        in_loop = (
            in_loop or type(layer).__name__ in RECURRENT or isinstance(layer, keras.layers.RNN)
        )
        if isinstance(layer, keras.Model):
            for index, operation in enumerate(functional.operations(layer)):
                if id(operation) not in self._seen:
                    yield from self._inside_operation(
                        operation, f"{address}[{index}]", _join(path, operation.name), in_loop
                    )
        for name, value in own_attributes(layer):
            if name not in _OWN_ATTRIBUTES:
                target = HookTarget(layer, name)
                place = _Place(target, _join(address, name), _join(path, name), in_loop)
                yield from self._inside_value(value, place)

    def _inside_value(self, value: Any, place: _Place) -> Iterator[HeldRectifier]:
        """Yield the rectifiers in an attribute's value.

        It is a layer, op or function, or a list, tuple or dict of them.
        """
        if isinstance(value, keras.Operation):
            if id(value) not in self._seen:
                yield from self._inside_operation(value, place.address, place.path, place.in_loop)
        elif is_function(value) and not is_followed_method(value):
            rectifier = _recognize_held(value, place.target)
            if rectifier is not None:
                yield HeldRectifier(
                    address=place.address,
                    path=place.path,
                    target=place.target,
                    rectifier=_with_loop(rectifier, place.in_loop),
                )
        elif isinstance(value, (list, tuple, Mapping)):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in items:
                yield from self._inside_value(item, place.item(key))

    def _inside_operation(
        self, operation: Any, address: str, path: str, in_loop: bool
    ) -> Iterator[HeldRectifier]:
        rectifier = recognize(operation)
        if rectifier is None:
            if isinstance(operation, keras.layers.Layer):
                yield from self.inside(operation, address, path, in_loop=in_loop)
            return
        self._seen.add(id(operation))
        yield HeldRectifier(
            address=address,
            path=path,
            target=HookTarget(operation, "activation" if rectifier.kind == "inline" else "call"),
            rectifier=_with_loop(rectifier, in_loop),
        )


@dataclass(frozen=True)
class _Place:
    """Where a value is held: its target, address and path, and whether a recurrent cell does."""

    target: HookTarget
    address: str
    path: str
    in_loop: bool

    def item(self, key: Any) -> _Place:
        """Return the place of an item of the list, tuple or dict at this place."""
        target = HookTarget(self.target.owner, self.target.attribute, (*self.target.keys, key))
        return _Place(target, f"{self.address}[{key}]", f"{self.path}[{key}]", self.in_loop)


def _inside_module(module: Any, address: str, path: str) -> Iterator[HeldRectifier]:
    for index, found in enumerate(rectifiers_of_modules(module)):
        yield HeldRectifier(
            address=f"{address}[module {index}]",
            path=_join(path, found.path) if found.path else path,
            target=HookTarget(found.module, "forward"),
            rectifier=found.rectifier,
        )


def _recognize_held(function: Any, target: HookTarget) -> Rectifier | None:
    """Return the rectifier that a function in an attribute computes, or None.

    A function of the user's is called to find out, so it has to be one that the layer calls.
    """
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    is_called = target.attribute in names_used_by_call(target.owner.__class__) or (
        isinstance(target.owner, keras.layers.Lambda) and not target.owner.arguments
    )
    if is_of_library(plain) or is_called:
        return recognize_function(function)
    return None


def _with_loop(rectifier: Rectifier, in_loop: bool) -> Rectifier:
    """Return the rectifier, with the reason to leave it alone if a recurrent cell applies it."""
    if in_loop and not rectifier.reason:
        return replace(rectifier, reason="a recurrent cell applies it in a loop")
    return rectifier


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
