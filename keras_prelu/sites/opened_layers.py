"""Graphs of what the Python code of layers computes, each created once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import keras

from keras_prelu.custom_layers.held_rectifiers import HeldRectifier, find_held_rectifiers
from keras_prelu.graph import functional
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.layer_code import AppliedFunction
from keras_prelu.graph.rectifiers import Rectifier

__all__ = ["OpenedLayers"]


class OpenedLayers:
    """The graphs of layers with Python code of their own, and the rectifiers that they hold.

    Everything that is looked up stays alive as long as this object.
    """

    def __init__(self) -> None:
        self._held: dict[int, tuple[Any, list[HeldRectifier]]] = {}
        self._graphs: dict[tuple[int, ...], tuple[Any, functional.Graph | None]] = {}
        self._nodes: dict[tuple[Any, ...], AppliedFunction] = {}

    def rectifiers(self, layer: Any) -> list[HeldRectifier]:
        """Return the rectifiers that a layer holds."""
        if id(layer) not in self._held:
            held = find_held_rectifiers(layer)
            self._held[id(layer)] = (layer, held)
            # Now, since a node calls what is held at present.
            for item in held:
                if item.target.key not in self._nodes:
                    self._nodes[item.target.key] = AppliedFunction(item.target, item.rectifier)
        return self._held[id(layer)][1]

    def targets(self, layer: Any) -> list[HookTarget]:
        """Return the attributes that apply the rectifiers inside a layer."""
        return [held.target for held in self.rectifiers(layer)]

    def rectifiers_of(self, layer: Any) -> dict[tuple[Any, ...], Rectifier]:
        """Return the rectifiers inside a layer, by the keys of these attributes."""
        return {held.target.key: held.rectifier for held in self.rectifiers(layer)}

    def graph(
        self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> functional.Graph | None:
        """Return the graph that a layer's code creates in a call, or None if that fails.

        Rectifiers that the layer holds and calls without their layers, such as functions, are nodes
        of class `AppliedFunction`.
        """
        leaves = keras.tree.flatten((tuple(args), dict(kwargs)))
        key = (id(layer), *map(id, leaves))
        if key not in self._graphs:
            self._graphs[key] = ((layer, leaves), self._open(layer, args, kwargs))
        return self._graphs[key][1]

    def _open(
        self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> functional.Graph | None:
        if functional.has_graph(layer):
            return functional.graph_of_model(layer)
        with ExitStack() as undo:
            for target in self.targets(layer):
                undo.callback(set_target(target, self._nodes[target.key]))
            return functional.graph_of_layer(layer, args, kwargs)
