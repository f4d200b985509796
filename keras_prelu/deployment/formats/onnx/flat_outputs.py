"""Outputs of subclassed models in the order in which Keras flattens them.

PyTorch puts the values of a dict into a file in the order in which Python code made it.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.graph.functional import has_graph

__all__ = ["with_flat_outputs"]


def with_flat_outputs(model: keras.Model, samples: Any) -> tuple[keras.Model, tuple[str, ...]]:
    """Return a model that returns a list where a model without a graph returns a dict on PyTorch.

    Args:
        model: `keras.Model`, as `lower_model` returns it.
        samples: Array, or a structure of arrays, as the model takes them.

    Returns:
        The model, or one that calls it; and the keys of the dict, in the order of the list.
    """
    if keras.backend.backend() != "torch" or has_graph(model):
        return model, ()
    one = keras.tree.map_structure(lambda array: array[:1], samples)
    outputs = model(one)
    if not keras.tree.is_nested(outputs):
        return model, ()
    flat = _Flat(model)
    flat(one)
    tensors = keras.tree.flatten(outputs)
    is_dict = isinstance(outputs, dict) and len(outputs) == len(tensors)
    return flat, tuple(sorted(outputs)) if is_dict else ()


class _Flat(keras.Model):
    """A model that returns the outputs of another one as a list."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name, autocast=False)
        self.model = model

    def call(self, inputs: Any) -> Any:
        return keras.tree.flatten(self.model(inputs))
