"""The graph of a functional model as data: calls of operations in execution order.

Keras has no public view of a model's nodes, so the private attributes `_nodes_by_depth`, `_keras_history` and `_layers` are read
here and nowhere else, and never written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras.src.models.functional import Functional  # the public keras.Model does not tell a graph from a subclassed model

from keras_prelu.errors import ConversionError

__all__ = ["Call", "calls", "functional_view", "has_graph", "producer", "sublayers"]


@dataclass(frozen=True)
class Call:
    """One call of an operation in a functional graph.

    Attributes:
        operation: The layer, nested model or op that is called.
        index: How often the operation was called before in this graph.
        args: Positional arguments, a structure with symbolic tensors at its leaves.
        kwargs: Keyword arguments, likewise.
        inputs: The symbolic tensors among the arguments, flat.
        outputs: The symbolic tensors that the call creates, flat.
    """

    operation: keras.Operation
    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def has_graph(layer: Any) -> bool:
    """Whether `layer` is a model with a graph: Functional (or a subclass of it), or a Sequential that is built."""
    return isinstance(layer, Functional) or (isinstance(layer, keras.Sequential) and layer.built and bool(layer.layers))


def functional_view(model: keras.Model) -> keras.Model:
    """`model` itself, or a functional model over the same tensors and layers for a Sequential. Adds no node to any layer.

    Raises:
        ConversionError: `model` has no graph; the message says why and what to do.
    """
    if isinstance(model, Functional):
        return model
    if not isinstance(model, keras.Model):
        raise ConversionError(f"A keras.Model is needed. Received: {type(model).__name__}")
    if not isinstance(model, keras.Sequential):
        raise ConversionError(
            f"Model '{model.name}' is a subclassed model ({type(model).__name__}): its graph is written in Python and can't be rewritten. "
            "Rebuild it with the functional API, or convert the functional models it is made of."
        )
    if not has_graph(model):
        raise ConversionError(
            f"Sequential model '{model.name}' has no input shape yet. Add a keras.Input as its first layer, or call it once on data."
        )
    return keras.Model(model.inputs, model.outputs, name=model.name)


def calls(model: keras.Model) -> Iterator[Call]:
    """The calls in the graph of `model` in the order Keras executes them, nested models as one call each, inputs left out.

    Raises:
        ConversionError: `model` has no graph.
    """
    counts: dict[int, int] = {}
    nodes_by_depth = functional_view(model)._nodes_by_depth
    for depth in sorted(nodes_by_depth, reverse=True):
        for node in nodes_by_depth[depth]:
            if not node.operation or node.is_input:
                continue
            index = counts.get(id(node.operation), 0)
            counts[id(node.operation)] = index + 1
            yield Call(
                node.operation,
                index,
                node.arguments.args,
                node.arguments.kwargs,
                tuple(node.input_tensors),
                tuple(node.output_tensors),
            )


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """The operation that created a symbolic tensor."""
    return tensor._keras_history.operation


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """The layers that a layer holds, directly or deeper, itself left out."""
    return list(layer._flatten_layers(include_self=False)) if isinstance(layer, keras.layers.Layer) else []
