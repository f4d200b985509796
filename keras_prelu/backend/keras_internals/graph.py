"""Private parts of Keras's graphs of operations, and of masks and the backend's namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import keras
from keras.src import backend
from keras.src.backend.common import masking
from keras.src.models.functional import Functional, functional_like_constructor
from keras.src.ops.function import Function, make_node_key
from keras.src.ops.numpy import Multiply
from keras.src.utils.tracking import Tracker

__all__ = [
    "Functional",
    "Node",
    "backend_namespaces",
    "functional_like_constructor",
    "has_automatic_name",
    "index_by_identity",
    "is_sparse",
    "keras_mask",
    "nodes_in_order",
    "nodes_kept",
    "nodes_of_graph",
    "producer",
    "producing_node",
    "set_keras_mask",
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
                yield _described(node)


def _described(node: Any) -> Node:
    return Node(
        operation=node.operation,
        args=node.arguments.args,
        kwargs=node.arguments.kwargs,
        inputs=tuple(node.input_tensors),
        outputs=tuple(node.output_tensors),
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


def nodes_of_graph(layer: Any) -> list[Any]:
    """Return the nodes of the graph of a functional or Sequential model, if it has one."""
    by_depth = getattr(getattr(layer, "_functional", None) or layer, "_nodes_by_depth", {})
    return [node for nodes in by_depth.values() for node in nodes]


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """Return the operation that created a symbolic tensor."""
    return tensor._keras_history.operation


def producing_node(tensor: keras.KerasTensor) -> Node | None:
    """Return the call that created a symbolic tensor, or None for an input."""
    history = getattr(tensor, "_keras_history", None)
    nodes = [] if history is None else history.operation._inbound_nodes
    if history is None or history.node_index >= len(nodes) or nodes[history.node_index].is_input:
        return None
    return _described(nodes[history.node_index])


def is_sparse(tensor: keras.KerasTensor) -> bool:
    """Return whether a symbolic tensor stands for sparse ones.

    `tensor.sparse` is also True for products of dense tensors with numbers and arrays, and for what
    is computed from them: `keras.ops.multiply` takes all that is not a tensor for sparse.
    """
    found: set[int] = set()
    pending = [tensor] if tensor.sparse and backend.SUPPORTS_SPARSE_TENSORS else []
    while pending:
        operation, node_index, _ = pending.pop()._keras_history
        inputs = operation._inbound_nodes[node_index].input_tensors
        sparse = [each for each in inputs if each.sparse]
        if not sparse and not isinstance(operation, Multiply):
            return True
        pending += [each for each in sparse if id(each) not in found]
        found.update(map(id, sparse))
    return False


def has_automatic_name(tensor: keras.KerasTensor) -> bool:
    """Return whether Keras, and not the user, named a symbolic tensor."""
    return bool(tensor.name.startswith("keras_tensor"))


def keras_mask(tensor: Any) -> Any:
    """Return the mask that a layer attached to a tensor, symbolic or not, or None."""
    return masking.get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor, or remove its mask if `mask` is None."""
    masking.set_keras_mask(tensor, mask)


def index_by_identity(copy: Any) -> None:
    """Let a copy of one of Keras's objects find by identity what it holds, if it does so."""
    if isinstance(copy, Function):
        copy._nodes = {
            make_node_key(node.operation, node.operation._inbound_nodes.index(node))
            for node in nodes_of_graph(copy)
        }
    if isinstance(copy, Tracker):
        copy.stored_ids = {name: set(map(id, store)) for name, (_, store) in copy.config.items()}
    elif isinstance(copy, keras.optimizers.Optimizer) and copy.built:
        copy._trainable_variables_indices = {
            copy._var_key(variable): i for i, variable in enumerate(copy._trainable_variables)
        }


def backend_namespaces() -> tuple[ModuleType, ...]:
    """Return the modules in which Keras looks up the functions of its backend, such as `map`."""
    return backend, backend.core
