"""Helpers for rewriting an ONNX graph in place."""

from __future__ import annotations

from typing import Any

from keras_prelu.typing import Array

__all__ = ["constants", "read_names", "remove_unread", "tensor_types"]


def constants(graph: Any) -> dict[str, Array]:
    """Return the constants of a graph, and their negatives, by name."""
    from onnx import numpy_helper

    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "Neg" and node.input[0] in known:
            known[node.output[0]] = -known[node.input[0]]
    return known


def tensor_types(graph: Any) -> dict[str, Any]:
    """Return the element types and shapes of a graph's tensors by name, as far as inferred."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value.type.tensor_type for value in values}


def remove_unread(graph: Any) -> None:
    """Remove the nodes and constants that nothing reads."""
    outputs = {output.name for output in graph.output}
    while True:
        read = outputs | {name for node in graph.node for name in read_names(node)}
        unread = [node for node in graph.node if not any(name in read for name in node.output)]
        for node in unread:
            graph.node.remove(node)
        if not unread:
            break
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def read_names(node: Any) -> list[str]:
    """Return the names that a node reads, and those that the graphs in its attributes read."""
    subgraphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return [
        *node.input,
        *(name for graph in subgraphs for inner in graph.node for name in read_names(inner)),
    ]
