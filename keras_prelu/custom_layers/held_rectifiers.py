"""Rectifiers that a custom layer or a subclassed model holds in its attributes.

An address such as `blocks[0]/relu` consists of attributes and indices, as in the names of saved
weights. It is also valid in a copy of the layer that is rebuilt from its configuration, in which
layers with automatic names have different names.
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

__all__ = ["OWN_LAYERS", "HeldRectifier", "find_held_rectifiers"]

OWN_LAYERS = "keras_prelus"
"""The attribute under which a converted layer holds its PReLU layers."""


@dataclass(frozen=True)
class HeldRectifier:
    """An attribute through which a layer applies a rectifier.

    Attributes:
        address: String. The attributes and indices that lead from the holder to the rectifier.
        path: String. The address for people: inside models, layer names instead of indices.
        target: `HookTarget`. The object and its attribute: "call" of a ReLU layer, "activation" of
            a Dense, or any attribute that holds a function.
        rectifier: `Rectifier`. What is applied.
    """

    address: str
    path: str
    target: HookTarget
    rectifier: Rectifier

    @property
    def owner(self) -> Any:
        """The object that has the attribute."""
        return self.target.owner

    @property
    def layer(self) -> str:
        """Class name of the object that has the attribute."""
        return type(self.owner).__name__


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
        in_loop = (
            in_loop or type(layer).__name__ in RECURRENT or isinstance(layer, keras.layers.RNN)
        )
        if isinstance(layer, keras.Model):
            for index, operation in enumerate(functional.operations(layer)):
                yield from self._inside_value(
                    operation, f"{address}[{index}]", _join(path, operation.name), in_loop
                )
        for name, value in own_attributes(layer):
            if name == OWN_LAYERS:
                continue
            inner_address, inner_path = _join(address, name), _join(path, name)
            if _is_function(value):
                rectifier = recognize_function(value)
                if rectifier is not None:
                    yield HeldRectifier(
                        address=inner_address,
                        path=inner_path,
                        target=HookTarget(layer, name),
                        rectifier=_with_loop(rectifier, in_loop),
                    )
            else:
                yield from self._inside_value(value, inner_address, inner_path, in_loop)

    def _inside_value(
        self, value: Any, address: str, path: str, in_loop: bool
    ) -> Iterator[HeldRectifier]:
        """Yield the rectifiers in an attribute's value: a layer or op, or a collection of them.

        A function in a collection is not found, since a list or dict has no attribute for it.
        """
        if isinstance(value, keras.Operation):
            if id(value) not in self._seen:
                yield from self._inside_operation(value, address, path, in_loop)
            return
        items: Iterator[tuple[Any, Any]] = iter(())
        if isinstance(value, (list, tuple)):
            items = enumerate(value)
        elif isinstance(value, Mapping):
            items = iter(value.items())
        for key, item in items:
            yield from self._inside_value(item, f"{address}[{key}]", f"{path}[{key}]", in_loop)

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


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (list, tuple, Mapping, keras.Operation))


def _with_loop(rectifier: Rectifier, in_loop: bool) -> Rectifier:
    """Return the rectifier, with the reason to leave it alone if a recurrent cell applies it."""
    if in_loop and not rectifier.reason:
        return replace(rectifier, reason="a recurrent cell applies it in a loop")
    return rectifier


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name
