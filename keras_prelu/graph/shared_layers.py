"""Layers that several parts of a model hold: one object, whose weights all of them use.

A graph calls a layer, and a wrapper or a layer with Python code of its own holds it as well, as the
head of a language model holds its embedding; or two such layers hold it. A layer that a graph calls
several times is not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import exchange_sublayer, sublayers
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.sublayer_addresses import layers_by_address

__all__ = ["SharedLayer", "leaf_operations", "shared_layers", "tie"]


@dataclass(frozen=True)
class SharedLayer:
    """A layer with variables that several parts of a model hold.

    Attributes:
        layer: Layer.
        holders: Tuple of layers. The leaf modules of the graph that the layer is inside.
        is_in_graph: Boolean. Whether the graph calls it too, or a model in the graph does.
    """

    layer: keras.layers.Layer
    holders: tuple[Any, ...]
    is_in_graph: bool


def shared_layers(model: keras.Model) -> dict[int, SharedLayer]:
    """Return the layers that several parts of a model hold, by their ids.

    Args:
        model: `keras.Model`. One that is not taken apart is a single part, and has none.
    """
    operations = list(_operations(model))
    in_graph = {id(operation) for operation in operations}
    holders: dict[int, list[Any]] = {}
    inner_layers: dict[int, Any] = {}
    for operation in operations:
        if is_taken_apart(operation):
            continue
        for inner in sublayers(operation):
            inner_layers[id(inner)] = inner
            holders.setdefault(id(inner), []).append(operation)
    return {
        key: SharedLayer(inner, tuple(holders[key]), key in in_graph)
        for key, inner in inner_layers.items()
        if (key in in_graph or len(holders[key]) > 1) and inner.variables
    }


def leaf_operations(model: keras.Model) -> list[Any]:
    """Return the layers and ops of a graph, and of the models in it, that are not taken apart."""
    return [operation for operation in _operations(model) if not is_taken_apart(operation)]


def _operations(model: keras.Model) -> Iterator[Any]:
    """Yield each layer, op and model of a graph, at any depth of nested models, once."""
    seen: set[int] = set()
    waiting = [model] if is_taken_apart(model) else []
    while waiting:
        for operation in functional.operations(waiting.pop()):
            if id(operation) not in seen:
                seen.add(id(operation))
                yield operation
                if is_taken_apart(operation):
                    waiting.append(operation)


def tie(
    original: Any, copy: Any, shared: dict[int, SharedLayer], copy_of: Callable[[Any, Any], Any]
) -> None:
    """Make the copy of a layer hold the same copies of shared layers as other copies do.

    Args:
        original: Layer or op.
        copy: Its copy, which is modified in place.
        shared: Dict. The result of `shared_layers`.
        copy_of: Function that takes a shared layer and what `copy` holds in its place, and returns
            the copy that all are to hold.
    """
    if not any(id(inner) in shared for inner in sublayers(original)):
        return
    copies = layers_by_address(copy)
    tied: list[tuple[Any, ...]] = []
    for address, inner in layers_by_address(original).items():
        is_inside = any(address[: len(outer)] == outer for outer in tied)
        if id(inner) not in shared or inner is original or is_inside or address not in copies:
            continue
        tied.append(address)
        present = copies[address]
        common = copy_of(inner, present)
        if common is not present:
            for owner in (copy, *sublayers(copy)):
                exchange_sublayer(owner, present, common)
