"""Where a layer with Python code of its own, or a subclassed model, holds its rectifiers: the
attributes that lead to them.

An address such as `blocks[0]/relu` names attributes and indices, as the weights in a saved file do:
it means the same in a copy of the layer that is rebuilt from its configuration, where the automatic
names of layers differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import own_attributes
from keras_prelu.graph import functional
from keras_prelu.graph.detection import recognize, recognize_function
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.rectifiers import RECURRENT, Rectifier

__all__ = ["OWN_LAYERS", "Place", "find_places"]

OWN_LAYERS = "keras_prelus"
"""The attribute of a converted layer under which it has its PReLUs."""


@dataclass(frozen=True)
class Place:
    """An attribute through which a rectifier is applied.

    Attributes:
        address: The attributes and indices that lead to it from the layer that holds it.
        path: The same for people: names instead of indices in models that are inside.
        owner: The object whose attribute it is.
        attribute: Its name: "call" of a ReLU layer, "activation" of a Dense, or any that holds a
            function.
        rectifier: What is applied.
    """

    address: str
    path: str
    owner: Any
    attribute: str
    rectifier: Rectifier

    @property
    def target(self) -> HookTarget:
        """The attribute, for hooks."""
        return HookTarget(self.owner, self.attribute)

    @property
    def layer(self) -> str:
        """Class name of the layer that applies it."""
        return type(self.owner).__name__


def find_places(holder: Any) -> list[Place]:
    """The rectifiers inside a layer, at any depth, each object once, in the order of the
    attributes."""
    return list(_Search().inside(holder, "", "", recurrent=False))


class _Search:
    def __init__(self) -> None:
        self._seen: set[int] = set()

    def inside(self, layer: Any, address: str, path: str, *, recurrent: bool) -> Iterator[Place]:
        self._seen.add(id(layer))
        recurrent = (
            recurrent or type(layer).__name__ in RECURRENT or isinstance(layer, keras.layers.RNN)
        )
        if isinstance(layer, keras.Model):
            for index, operation in enumerate(functional.operations(layer)):
                yield from self._value(
                    operation,
                    f"{address}[{index}]",
                    _join(path, operation.name),
                    layer,
                    "",
                    recurrent,
                )
        for name, value in own_attributes(layer):
            if name != OWN_LAYERS:
                yield from self._value(
                    value, _join(address, name), _join(path, name), layer, name, recurrent
                )

    def _value(
        self, value: Any, address: str, path: str, owner: Any, name: str, recurrent: bool
    ) -> Iterator[Place]:
        if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from self._value(
                    item, f"{address}[{index}]", f"{path}[{index}]", owner, "", recurrent
                )
        elif isinstance(value, Mapping):
            for key, item in value.items():
                yield from self._value(
                    item, f"{address}[{key}]", f"{path}[{key}]", owner, "", recurrent
                )
        elif isinstance(value, keras.Operation):
            if id(value) not in self._seen:
                yield from self._operation(value, address, path, recurrent)
        elif name and callable(value):
            rectifier = recognize_function(value)
            if rectifier is not None:
                yield Place(address, path, owner, name, _checked(rectifier, recurrent))

    def _operation(
        self, operation: Any, address: str, path: str, recurrent: bool
    ) -> Iterator[Place]:
        rectifier = recognize(operation)
        if rectifier is None:
            if isinstance(operation, keras.layers.Layer):
                yield from self.inside(operation, address, path, recurrent=recurrent)
            return
        self._seen.add(id(operation))
        attribute = "activation" if rectifier.kind == "inline" else "call"
        yield Place(address, path, operation, attribute, _checked(rectifier, recurrent))


def _checked(rectifier: Rectifier, recurrent: bool) -> Rectifier:
    return (
        replace(rectifier, reason="a recurrent cell applies it in a loop")
        if recurrent and not rectifier.reason
        else rectifier
    )


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
