"""Which layers of a model are exchanged in its copy, and for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_prelu.layers import PReLU

__all__ = [
    "ActivationFactory",
    "BuiltLayerFactory",
    "LayerFactory",
    "Replacements",
    "StandInFactories",
]

LayerFactory = Callable[[], "keras.layers.Layer | Sequence[Any]"]
"""Factory for the replacement layer or chain of layers; an empty list is the identity.

In a functional model, functions of `keras.ops` may be among them.
"""

BuiltLayerFactory = Callable[[], Any]
"""Factory for a built `PReLU`."""

StandInFactories = Mapping[str, Sequence["BuiltLayerFactory | None"]]
"""For each PReLU layer of a converted layer, by address, a factory for another one, or None to keep
it."""


ActivationFactory = Callable[[PReLU, str, str], "list[keras.layers.Layer]"]
"""Factory for the layers that replace a PReLU, one applied to the output of the other.

Its arguments are the PReLU, the name of the first layer, and a name that is free for a second.
"""


class Replacements:
    """The exchanges that `rewrite` makes.

    They map layers and ops of the given model to factories for their replacements in the copy.
    """

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], LayerFactory] = {}
        self._operations: dict[int, LayerFactory] = {}
        self._activations: dict[int, LayerFactory] = {}
        self._held: dict[int, dict[str, list[BuiltLayerFactory]]] = {}
        self._stand_ins: dict[int, StandInFactories] = {}
        self._names: dict[int, str] = {}
        # Ids are unique only among live objects, so the operations have to stay alive.
        self._alive: list[Any] = []

    def replace_call(self, operation: Any, index: int, factory: LayerFactory) -> None:
        """Replace one call of a layer or op.

        Args:
            operation: Layer or op.
            index: Integer. Number of earlier calls of the operation in its model.
            factory: `LayerFactory` for the layers that replace the call.
        """
        self._calls[self._key(operation), index] = factory

    def replace_operation(self, operation: Any, factory: LayerFactory) -> None:
        """Replace a layer or op in all its calls, by the same layers."""
        self._operations[self._key(operation)] = factory

    def replace_activation(self, layer: Any, factory: LayerFactory) -> None:
        """Replace the inline activation of a layer.

        The layer becomes linear, and the same new layers are called on its output in all its calls.
        """
        self._activations[self._key(layer)] = factory

    def replace_held(self, layer: Any, address: str, factory: BuiltLayerFactory) -> None:
        """Replace a rectifier inside a layer with Python code of its own.

        Args:
            layer: Layer that holds the rectifier.
            address: String. Address of the rectifier in the layer. A rectifier that is applied to
                several numbers of channels is replaced once for each.
            factory: `BuiltLayerFactory` for the layer that replaces the rectifier.
        """
        self._held.setdefault(self._key(layer), {}).setdefault(address, []).append(factory)

    def exchange_stand_ins(self, layer: Any, factories: StandInFactories) -> None:
        """Exchange the PReLU layers that a converted layer applies in its code.

        Args:
            layer: `ConvertedLayer`.
            factories: `StandInFactories`. At addresses that are left out, the code applies its own
                rectifiers again; without any, the layer gets the user's own class back.
        """
        self._stand_ins[self._key(layer)] = factories

    def rename(self, operation: Any, name: str) -> None:
        """Give the copy of a layer or op another name."""
        self._names[self._key(operation)] = name

    def name_for(self, operation: Any) -> str:
        """Return the name of the copy of an operation."""
        return self._names.get(id(operation), operation.name)

    def factory_for(self, operation: Any, index: int) -> LayerFactory | None:
        """Return the factory for a single call of an operation, or None."""
        return self._calls.get((id(operation), index))

    def shared_factory_for(self, operation: Any) -> LayerFactory | None:
        """Return the factory for all calls of an operation, or None."""
        return self._operations.get(id(operation))

    def activation_factory_for(self, layer: Any) -> LayerFactory | None:
        """Return the factory for the inline activation of a layer, or None."""
        return self._activations.get(id(layer))

    def held_factories_for(self, layer: Any) -> Mapping[str, Sequence[BuiltLayerFactory]]:
        """Return the factories for the rectifiers inside a layer, by address."""
        return self._held.get(id(layer), {})

    def stand_ins_for(self, layer: Any) -> StandInFactories | None:
        """Return the factories for the PReLU layers of a converted layer, or None to keep all."""
        return self._stand_ins.get(id(layer))

    def _key(self, operation: Any) -> int:
        self._alive.append(operation)
        return id(operation)
