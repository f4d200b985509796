"""Graphs of what the Python code of layers computes, each created once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.called_rectifiers import (
    backend_functions_as_nodes,
    can_follow,
    find_called_rectifiers,
)
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
        self._called: dict[int, list[HeldRectifier]] = {}
        # By the ids of the layers whose code it is.
        self._called_by: dict[int, list[HeldRectifier]] = {}
        self._followed: set[int] = set()
        self._alive: list[Any] = []
        self._graphs: dict[tuple[int, ...], tuple[Any, functional.Graph | None]] = {}
        self._nodes: dict[tuple[Any, ...], AppliedFunction] = {}

    def call(self, layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Call a layer on symbolic tensors to find the rectifiers that its code calls as functions.

        They are among the rectifiers of the layer, and of the layers inside, from then on.

        Raises:
            Exception: Whatever the layer's code raises.
        """
        self._alive.append(layer)
        found = find_called_rectifiers(layer, args, kwargs)
        self._followed |= {id(inner) for inner in (layer, *sublayers(layer)) if can_follow(inner)}
        called = self._called.setdefault(id(layer), [])
        known = {held.target.key for held in called}
        paths = {held.path for held in called}
        for held in found:
            if held.target.key not in known:
                held = replace(held, path=_numbered(held.path, paths))
                called.append(held)
                self._nodes.setdefault(
                    held.target.key, AppliedFunction(held.target, held.rectifier)
                )
                self._called_by.setdefault(id(held.owner.layer), []).append(held)

    def is_followed(self, layer: Any) -> bool:
        """Return whether it is known which functions the code of a layer calls."""
        return id(layer) in self._followed

    def rectifiers(self, layer: Any) -> list[HeldRectifier]:
        """Return the rectifiers that a layer holds, and those that its code is known to call."""
        if id(layer) not in self._held:
            held = find_held_rectifiers(layer)
            self._held[id(layer)] = (layer, held)
            # Now, since a node calls what is held at present.
            for item in held:
                if item.target.key not in self._nodes:
                    self._nodes[item.target.key] = AppliedFunction(item.target, item.rectifier)
        return [*self._held[id(layer)][1], *self._called_inside(layer)]

    def _called_inside(self, layer: Any) -> list[HeldRectifier]:
        """Return the rectifiers that the code of a layer and of the layers inside calls."""
        if id(layer) in self._called:
            return self._called[id(layer)]
        if not self._called_by:
            return []
        inside = (layer, *sublayers(layer))
        return [held for inner in inside for held in self._called_by.get(id(inner), [])]

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
            graph = functional.graph_of_layer(layer, args, kwargs)
            if graph is None:
                undo.enter_context(backend_functions_as_nodes(layer))
                graph = functional.graph_of_layer(layer, args, kwargs)
            return graph


def _numbered(path: str, taken: set[str]) -> str:
    """Return the path of a function that is not taken: relu(), relu_2(), and so on; and take it."""
    name, number, numbered = path.removesuffix("()"), 1, path
    while numbered in taken:
        number += 1
        numbered = f"{name}_{number}()"
    taken.add(numbered)
    return numbered
