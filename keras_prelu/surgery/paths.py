"""Finding a layer of a model by its path."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["layer_at"]


def layer_at(model: keras.Model, path: str) -> Any:
    """The layer at a path such as `"backbone/conv1_relu"`, or None where there is none. Keras allows no slash in a name."""
    layer: Any = model
    for name in path.split("/"):
        layers = {inner.name: inner for inner in layer.layers} if isinstance(layer, keras.Model) else {}
        layer = layers.get(name)
    return layer
