"""Finding a layer of a model by its path, and all PReLU layers with theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.layers import PReLU

__all__ = ["layer_at", "prelu_layers"]


def layer_at(model: keras.Model, path: str) -> Any:
    """The layer at a path such as `"backbone/conv1_relu"`, or None where there is none. Keras
    allows no slash in a name."""
    layer: Any = model
    for name in path.split("/"):
        layer = {inner.name: inner for inner in _inner(layer)}.get(name)
    return layer


def prelu_layers(model: Any) -> Iterator[tuple[str, PReLU]]:
    """Each `keras_prelu.PReLU` of a model once, with its path, in the model's order of layers;
    those inside custom layers too."""
    return _prelu_layers(model, "", set())


def _prelu_layers(model: Any, scope: str, seen: set[int]) -> Iterator[tuple[str, PReLU]]:
    for layer in _inner(model):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, PReLU):
            yield f"{scope}{layer.name}", layer
        else:
            yield from _prelu_layers(layer, f"{scope}{layer.name}/", seen)


def _inner(layer: Any) -> list[Any]:
    """The layers that paths name after a layer."""
    return [*(layer.layers if isinstance(layer, keras.Model) else []), *prelus(layer)]
