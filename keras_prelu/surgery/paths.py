"""Finding a layer of a model by its path."""

from __future__ import annotations

import keras

__all__ = ["layer_at"]


def layer_at(model: keras.Model, path: str) -> keras.layers.Layer | None:
    """The layer at a path such as `"backbone/conv1_relu"`, or None where there is none.

    Layer names may hold slashes themselves, so each prefix that names a nested model is tried.
    """
    layers = {layer.name: layer for layer in model.layers}
    if path in layers:
        return layers[path]
    for end, character in enumerate(path):
        inner = layers.get(path[:end]) if character == "/" else None
        if isinstance(inner, keras.Model):
            found = layer_at(inner, path[end + 1 :])
            if found is not None:
                return found
    return None
