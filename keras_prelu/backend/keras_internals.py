"""What Keras has no public way for, each piece behind one function: what a coming Keras may break
is here and nowhere else.

`tests/backends/test_keras_internals.py` says which piece broke.
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
    """The calls in a `keras.Function` or functional model in the order in which Keras executes
    them, inputs left out."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                inputs, outputs = tuple(node.input_tensors), tuple(node.output_tensors)
                yield Node(
                    node.operation, node.arguments.args, node.arguments.kwargs, inputs, outputs
                )


@contextmanager
def nodes_kept(layers: Sequence[keras.layers.Layer]) -> Iterator[None]:
    """Forget the calls of layers on symbolic tensors that are made meanwhile."""
    kept = [
        (list_, len(list_))
        for layer in layers
        for list_ in (layer._inbound_nodes, layer._outbound_nodes)
    ]
    try:
        yield
    finally:
        for list_, length in kept:
            del list_[length:]


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """The operation that created a symbolic tensor."""
    return tensor._keras_history.operation


def has_automatic_name(tensor: keras.KerasTensor) -> bool:
    """Whether Keras named a symbolic tensor, and not the user."""
    return bool(tensor.name.startswith("keras_tensor"))


def sublayers(layer: Any) -> list[keras.layers.Layer]:
    """The layers that a layer holds, directly or deeper, itself left out."""
    return (
        list(layer._flatten_layers(include_self=False))
        if isinstance(layer, keras.layers.Layer)
        else []
    )


def own_attributes(layer: Any) -> list[tuple[str, Any]]:
    """The attributes of a layer that its own class gave it, with their values, and not Keras,
    TensorFlow or PyTorch."""
    own = {
        **vars(layer),
        **vars(layer).get("_modules", {}),
    }  # PyTorch keeps those that are modules apart
    return [
        (name, value)
        for name, value in own.items()
        if name not in _attributes_of_keras() and not name.startswith("_self_")
    ]


@functools.cache
def _attributes_of_keras() -> frozenset[str]:
    return frozenset(vars(keras.layers.Layer())) | {
        "_functional",
        "_layers",
        "_modules",
        "_torch_params",
    }


@contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Let a layer that is built take new sublayers meanwhile. Keras locks it against its own code,
    rightly so."""
    tracker = layer._tracker
    locked = tracker.locked
    tracker.unlock()
    try:
        yield
    finally:
        if locked:
            tracker.lock()


def steps_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """The variable in which an optimizer counts its steps. The public `iterations` is another
    number where gradients accumulate."""
    return optimizer._iterations


def built_for(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built to train."""
    return list(optimizer._trainable_variables)


def begin_at_epoch(model: keras.Model, epoch: int) -> None:
    """Make the `fit` that is beginning begin at an epoch, as `keras.callbacks.BackupAndRestore`
    does."""
    model._initial_epoch = epoch
