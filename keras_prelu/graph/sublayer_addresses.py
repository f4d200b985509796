"""Addresses of the layers inside a layer, which are the same in a copy of it.

A layer inside has the same place in the order of all only if both layers are built to the same
extent: `build` may create further layers, as that of a MultiHeadAttention does. The attributes that
lead to it are the same at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_prelu.backend.keras_internals import direct_sublayers, own_attributes

__all__ = ["SublayerAddress", "layers_by_address"]

SublayerAddress = tuple[Any, ...]
"""The attributes, indices and keys that lead from a layer to one inside it."""


def layers_by_address(layer: Any) -> dict[SublayerAddress, Any]:
    """Return a layer or op, with an empty address, and the layers inside it at any depth.

    A layer that several attributes lead to has the address of the first.
    """
    found: dict[SublayerAddress, Any] = {}
    seen: set[int] = set()
    pending: list[tuple[SublayerAddress, Any]] = [((), layer)]
    while pending:
        address, owner = pending.pop()
        if id(owner) not in seen:
            seen.add(id(owner))
            found[address] = owner
            pending.extend(reversed([(address + steps, inner) for steps, inner in _direct(owner)]))
    return found


def _direct(layer: Any) -> Iterator[tuple[SublayerAddress, keras.layers.Layer]]:
    """Yield the layers that a layer holds itself, including those that it holds several times."""
    if not isinstance(layer, keras.layers.Layer):
        return
    inside = direct_sublayers(layer)
    is_inside = {id(inner) for inner in inside}
    by_attribute = {}
    for name, value in own_attributes(layer):
        for steps, inner in _layers_in((name,), value):
            if id(inner) in is_inside:
                by_attribute[id(inner)] = inner
                yield steps, inner
    # Those of a model, which gets its InputLayer when it is built.
    others = [
        inner
        for inner in inside
        if id(inner) not in by_attribute and not isinstance(inner, keras.layers.InputLayer)
    ]
    for index, inner in enumerate(others):
        yield ("", index), inner


def _layers_in(
    address: SublayerAddress, value: Any
) -> Iterator[tuple[SublayerAddress, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield address, value
    elif isinstance(value, (list, tuple, Mapping)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _layers_in((*address, key), item)
