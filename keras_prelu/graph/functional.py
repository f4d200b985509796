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
    "graph_of_layer",
    "graph_of_model",
    "has_functional_constructor",
    "has_graph",
    "operations",
]

# For models of user-defined classes, whether their constructors take inputs and outputs; see
# `has_functional_constructor`.
_FUNCTIONAL_CONSTRUCTORS: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Call:
    """One call of an operation in a functional graph.

    Attributes:
        operation: Layer, nested model or op. What is called.
        index: Integer. How often the operation was called earlier in this graph.
        args: Tuple. Positional arguments, a structure with symbolic tensors at its leaves.
        kwargs: Dict. Keyword arguments, with symbolic tensors at their leaves.
        inputs: Tuple of symbolic tensors. Those among the arguments.
        outputs: Tuple of symbolic tensors. Those that the call creates.
    """

    operation: keras.Operation
    index: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


@dataclass(frozen=True)
class Graph:
    """A functional graph.

    Attributes:
        calls: Tuple of `Call`, in execution order.
        outputs: Tuple of symbolic tensors. The outputs of the graph.
        inputs: Tuple of symbolic tensors. The inputs of the graph.
    """

    calls: tuple[Call, ...]
    outputs: tuple[keras.KerasTensor, ...]
    inputs: tuple[keras.KerasTensor, ...]


def has_graph(layer: Any) -> bool:
    """Return whether `layer` is a model that runs a graph.

    Such a model is Functional (or of a subclass that keeps its `call`), or a Sequential that is
    built.
    """
    if isinstance(layer, keras.Sequential):
        return type(layer).call is keras.Sequential.call and layer.built and bool(layer.layers)
    return isinstance(layer, Functional) and type(layer).call is Functional.call


def has_functional_constructor(model: Any) -> bool:
    """Return whether the class of a model is constructed from inputs and outputs.

    `keras.Model` is constructed in this way, and a copy of the graph of such a model can be of the
    same class. Keras decides by the signature of the constructor. A constructor that passes all
    arguments on (`*args, **kwargs`) may still build the model from a size; such a constructor is
    therefore called on trial, once for each model.
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
    """Return the layers and ops of a Sequential or functional model; none for a subclassed one."""
    if isinstance(model, keras.Sequential):
        return list(model.layers)
    return list(model.operations) if isinstance(model, Functional) else []


def functional_view(model: keras.Model) -> keras.Model:
    """Return `model` itself or, for a Sequential, a functional model over the same layers.

    The functional model has the same tensors. No node is added to any layer.

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
    """Yield the calls in the graph of a model in the order in which Keras executes them.

    A nested model is one call; inputs are left out.

    Raises:
        ConversionError: `model` has no graph.
    """
    yield from _calls(functional_view(model))


def graph_of_model(model: keras.Model) -> Graph:
    """Return the graph of a model.

    Raises:
        ConversionError: `model` has no graph.
    """
    view = functional_view(model)
    return Graph(
        calls=tuple(calls(view)), outputs=tuple(view.outputs), inputs=tuple(view.inputs)
    )


def graph_of_layer(layer: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Graph | None:
    """Return the graph that the Python code of a layer creates, or None.

    Returns None if the code accepts only real tensors, not symbolic ones.

    Args:
        layer: Layer. It is left unchanged.
        args: Sequence. Positional arguments, with symbolic tensors, of which only the shapes and
            dtypes matter.
        kwargs: Mapping. Keyword arguments, with symbolic tensors.
    """
    args, kwargs = detached((tuple(args), dict(kwargs)))
    inputs = [
        leaf for leaf in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(leaf)
    ]
    with nodes_kept(sublayers(layer)):
        try:
            leaves = keras.tree.flatten(layer.call(*args, **kwargs))
            outputs = tuple(leaf for leaf in leaves if keras.utils.is_keras_tensor(leaf))
            function = keras.Function(inputs, outputs)
        except Exception:  # Whatever the user's code raises for symbolic tensors.
            return None
        return Graph(calls=tuple(_calls(function)), outputs=outputs, inputs=tuple(inputs))


def detached(structure: Any) -> Any:
    """Return a structure with new symbolic tensors in place of those in it.

    Calls with the new tensors leave no trace in the original graph.
    """
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
        yield Call(
            operation=node.operation,
            index=index,
            args=node.args,
            kwargs=node.kwargs,
            inputs=node.inputs,
            outputs=node.outputs,
        )
