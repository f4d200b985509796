"""Lookup of layers of a model by their paths, and the PReLU layers of a model with their paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.layers import PReLU

__all__ = ["freeze_slopes", "has_prelu_layers", "layers_at", "prelu_layers"]


def layers_at(model: keras.Model, paths: Iterable[str]) -> dict[str, Any]:
    """Return the layers at paths such as `"backbone/conv1_relu"`, by path; None where none is.

    Keras allows no slash in a name.
    """
    inside: dict[
        int, dict[str, Any]
    ] = {}  # The layers inside each layer that a path leads through.

    def find(path: str) -> Any:
        layer: Any = model
        for name in path.split("/"):
            if id(layer) not in inside:
                inside[id(layer)] = {inner.name: inner for inner in _layers_inside(layer)}
            layer = inside[id(layer)].get(name)
        return layer

    return {path: find(path) for path in paths}


def prelu_layers(model: Any) -> Iterator[tuple[str, PReLU]]:
    """Yield each `keras_prelu.PReLU` of a model once, with its path.

    The order is that of the model's layers. PReLU layers inside wrappers, custom layers and
    converted layers are included; those of tensors without channels have no slopes and are not.
    """
    return _prelu_layers(model, "", set())


def has_prelu_layers(model: keras.Model) -> bool:
    """Return whether a model has a `keras_prelu.PReLU`, and so slopes to train."""
    return next(prelu_layers(model), None) is not None


def freeze_slopes(model: keras.Model) -> None:
    """Let the slopes of a model keep their values in training, in place."""
    for _, layer in prelu_layers(model):
        layer.trainable = False


def _prelu_layers(model: Any, scope: str, seen: set[int]) -> Iterator[tuple[str, PReLU]]:
    for layer in _layers_inside(model):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, PReLU):
            if not layer.built or 0 not in layer.beta.shape:
                yield f"{scope}{layer.name}", layer
        else:
            yield from _prelu_layers(layer, f"{scope}{layer.name}/", seen)


def _layers_inside(layer: Any) -> list[Any]:
    """Return the layers that follow a layer in paths."""
    if isinstance(layer, keras.Model):
        return [*layer.layers, *prelus(layer)]
    return [inner for inner in sublayers(layer) if isinstance(inner, PReLU)]
