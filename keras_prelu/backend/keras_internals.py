"""Access to private parts of Keras without a public equivalent, each behind one function.

Whatever a future version of Keras may break is in this module and nowhere else;
`tests/backends/test_keras_internals.py` tests each piece by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
from keras.src.models.functional import Functional, functional_like_constructor

__all__ = [
    "Functional",
    "Node",
    "begin_at_epoch",
    "built_for",
    "compile_arguments",
    "functional_like_constructor",
    "has_automatic_name",
    "nodes_in_order",
    "nodes_kept",
    "own_attributes",
    "producer",
    "steps_counter",
    "sublayers",
    "unlocked",
]


class Node(NamedTuple):
    """One call of an operation in a graph."""

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


def nodes_in_order(function: Any) -> Iterator[Node]:
    """Yield the calls in a `keras.Function` or functional model, without the inputs.

    The calls are in the order in which Keras executes them.
    """
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                inputs, outputs = tuple(node.input_tensors), tuple(node.output_tensors)
                yield Node(
                    operation=node.operation,
                    args=node.arguments.args,
                    kwargs=node.arguments.kwargs,
                    inputs=inputs,
                    outputs=outputs,
                )


@contextmanager
def nodes_kept(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Forget the calls of layers on symbolic tensors that are made within the context."""
    lists = [nodes for layer in layers for nodes in (layer._inbound_nodes, layer._outbound_nodes)]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """Return the operation that created a symbolic tensor."""
    return tensor._keras_history.operation


def has_automatic_name(tensor: keras.KerasTensor) -> bool:
    """Return whether Keras, and not the user, named a symbolic tensor."""
    return bool(tensor.name.startswith("keras_tensor"))


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """Return the layers inside a layer, at any depth, without the layer itself."""
    return (
        list(layer._flatten_layers(include_self=False))
        if isinstance(layer, keras.layers.Layer)
        else []
    )


def own_attributes(layer: Any) -> list[tuple[str, Any]]:
    """Return the names and values of the attributes that a layer's own class set.

    Attributes that Keras, TensorFlow or PyTorch set are left out.
    """
    # PyTorch stores attributes that are modules in a dictionary of their own.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    return [
        (name, value)
        for name, value in attributes.items()
        if name not in _attributes_of_keras() and not name.startswith("_self_")
    ]


@functools.cache
def _attributes_of_keras() -> frozenset[str]:
    # A model sets those of a Sequential: the functions that `fit` and `predict` compile, and more.
    return frozenset({*vars(keras.layers.Layer()), *vars(keras.Sequential(name="unused"))}) | {
        "_functional",
        "_layers",
        "_modules",
        "_torch_params",
    }


@contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Let a built layer take new sublayers within the context.

    Keras locks a layer when it is built, against code that adds state too late.
    """
    tracker = layer._tracker
    locked = tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


def steps_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Return the variable in which an optimizer counts its steps.

    The public `iterations` differs from it if gradients accumulate.
    """
    return optimizer._iterations


def built_for(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables that an optimizer was built to train."""
    return list(optimizer._trainable_variables)


def compile_arguments(model: Any) -> dict[str, Any]:
    """Return the arguments that a model was compiled with, as the user passed them."""
    settings = getattr(model, "_compile_config", None)
    return dict(getattr(settings, "config", {}))


def begin_at_epoch(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that has just begun start at the given epoch.

    `keras.callbacks.BackupAndRestore` does this too.
    """
    model._initial_epoch = epoch
