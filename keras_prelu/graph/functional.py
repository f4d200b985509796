"""The graph of a functional model as data: calls of operations in execution order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import (
    Functional,
    functional_like_constructor,
    nodes_in_order,
    nodes_kept,
    sublayers,
)
from keras_prelu.errors import ConversionError

__all__ = [
    "Call",
    "Graph",
    "calls",
    "detached",
    "functional_view",
    "has_functional_constructor",
    "has_graph",
    "of_model",
    "opened",
    "operations",
]

# For models of users' classes, whether their constructors take inputs and outputs; see
# `has_functional_constructor`.
_FUNCTIONAL_CONSTRUCTORS: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


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


@dataclass(frozen=True)
class Graph:
    """Calls in execution order, and the symbolic tensors that they end in."""

    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]


def has_graph(layer: Any) -> bool:
    """Whether `layer` is a model that runs a graph: Functional (or a subclass that keeps its
    `call`), or a Sequential that is built."""
    if isinstance(layer, keras.Sequential):
        return type(layer).call is keras.Sequential.call and layer.built and bool(layer.layers)
    return isinstance(layer, Functional) and type(layer).call is Functional.call


def has_functional_constructor(model: Any) -> bool:
    """Whether a model's class is made from inputs and outputs, as `keras.Model` is, so that a copy
    of its graph can be of that class.

    Keras goes by the constructor's signature; one that passes anything on (`*args, **kwargs`) may
    still build the model from a size.
    """
    if not functional_like_constructor(type(model)):
        return False
    if type(model).__module__.startswith("keras."):
        return True
    if model not in _FUNCTIONAL_CONSTRUCTORS:
        _FUNCTIONAL_CONSTRUCTORS[model] = _constructs_graph(model)
    return _FUNCTIONAL_CONSTRUCTORS[model]


def _constructs_graph(model: Any) -> bool:
    try:
        copy = type(model)(model.input, model.output, name=model.name)
    except Exception:  # Whatever the user's constructor raises.
        return False
    return [id(tensor) for tensor in copy.outputs] == [id(tensor) for tensor in model.outputs]


def operations(model: keras.Model) -> list[Any]:
    """The layers and ops of a Sequential or functional model; none of a subclassed model."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    return list(model.operations) if isinstance(model, Functional) else []


def functional_view(model: keras.Model) -> keras.Model:
    """`model` itself, or a functional model over the same tensors and layers for a Sequential. Adds
    no node to any layer.

    Raises:
        ConversionError: `model` has no graph; the message says why and what to do.
    """
    if isinstance(model, Functional) and has_graph(model):
        return model
    if not isinstance(model, keras.Model):
        raise ConversionError(f"A keras.Model is needed. Received: {type(model).__name__}")
    if not isinstance(model, keras.Sequential):
        raise ConversionError(
            f"Model '{model.name}' is a subclassed model ({type(model).__name__}): its graph is"
            " written in Python and can't be rewritten. Rebuild it with the functional API, or"
            " convert the functional models it is made of."
        )
    if not has_graph(model):
        raise ConversionError(
            f"Sequential model '{model.name}' has no input shape yet. Add a keras.Input as its"
            " first layer, or call it once on data."
        )
    return keras.Model(model.inputs, model.outputs, name=model.name)


def calls(model: keras.Model) -> Iterator[Call]:
    """The calls in the graph of `model` in the order Keras executes them, nested models as one call
    each, inputs left out.

    Raises:
        ConversionError: `model` has no graph.
    """
    yield from _calls(functional_view(model))


def of_model(model: keras.Model) -> Graph:
    """The graph of `model`.

    Raises:
        ConversionError: `model` has none.
    """
    view = functional_view(model)
    return Graph(tuple(calls(view)), tuple(view.outputs))


def opened(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph | None:
    """The graph that a layer's Python code makes of symbolic tensors, or None for code that takes
    only real ones.

    Args:
        layer: Any layer. It is left as it was.
        args, kwargs: What it is called with, symbolic tensors among them; only their shapes and
            dtypes matter.
    """
    args, kwargs = detached((tuple(args), dict(kwargs)))
    inputs = [
        leaf for leaf in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(leaf)
    ]
    with nodes_kept(sublayers(layer)):
        try:
            found = keras.tree.flatten(layer.call(*args, **kwargs))
            outputs = tuple(leaf for leaf in found if keras.utils.is_keras_tensor(leaf))
            function = keras.Function(inputs, outputs)
        except Exception:  # whatever the user's code raises when it meets no real tensor
            return None
        return Graph(tuple(_calls(function)), outputs)


def detached(structure: Any) -> Any:
    """A structure with new symbolic tensors in place of those in it, so that calls with them leave
    no trace in a graph."""
    return keras.tree.map_structure(_like, structure)


def _like(leaf: Any) -> Any:
    return (
        keras.Input(batch_shape=leaf.shape, dtype=leaf.dtype, sparse=leaf.sparse)
        if keras.utils.is_keras_tensor(leaf)
        else leaf
    )


def _calls(function: Any) -> Iterator[Call]:
    counts: dict[int, int] = {}
    for node in nodes_in_order(function):
        index = counts.get(id(node.operation), 0)
        counts[id(node.operation)] = index + 1
        yield Call(node.operation, index, node.args, node.kwargs, node.inputs, node.outputs)
