"""Models without a `call` of their own, such as GANs, as their parts.

Such a model only holds other models, which its `train_step` calls. What it applies is what its
parts apply when each is called on inputs of its own.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import direct_sublayers, sublayers
from keras_prelu.data.declarations import has_call

__all__ = ["callable_form", "is_container", "parts_of"]


class _Parts(keras.layers.Layer):
    """Calls each part of a model with its arguments: a list of pairs of a list and a dict."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self._parts = parts_of(model)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> list[Any]:
        return [
            part(*args, **kwargs) for part, (args, kwargs) in zip(self._parts, inputs, strict=True)
        ]


def parts_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that a model holds, as far as they have weights or layers inside."""
    return [each for each in direct_sublayers(model) if each.weights or sublayers(each)]


def is_container(layer: Any) -> bool:
    """Return whether a layer is a model without a `call`."""
    return isinstance(layer, keras.Model) and not has_call(layer)


def callable_form(layer: Any) -> Any:
    """Return a layer, or for a model without a `call` what calls its parts.

    The latter takes one argument, a list with a pair of positional and keyword arguments for each
    part.
    """
    return _Parts(layer) if is_container(layer) else layer
