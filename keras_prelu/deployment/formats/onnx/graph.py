"""What rewriting an ONNX graph in place takes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["constants", "remove_unread"]


def constants(graph: Any) -> dict[str, np.ndarray]:
    """The constants of a graph, and their negatives."""
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if node.op_type == "Neg" and node.input[0] in found:
            found[node.output[0]] = -found[node.input[0]]
    return found


def remove_unread(graph: Any) -> None:
    """Remove nodes and constants that nothing reads."""
    results = {output.name for output in graph.output}
    while True:
        read = results | {name for node in graph.node for name in _reads(node)}
        unread = [node for node in graph.node if not any(name in read for name in node.output)]
        for node in unread:
            graph.node.remove(node)
        if not unread:
            break
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _reads(node: Any) -> list[str]:
    """What a node reads, and the graphs inside it."""
    inside = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return [
        *node.input,
        *(name for graph in inside for inner in graph.node for name in _reads(inner)),
    ]
