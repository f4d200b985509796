"""Rewriting of an exported ONNX graph: each site is one PRelu, and axes and outputs have names.

Keras's exporter writes Relu, Neg, Relu, Mul and Add instead. `format` calls this, and
`cpu_rewriting` for the form that is fastest on CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.deployment.formats.onnx.graph import (
    constants,
    read_names,
    remove_unread,
    tensor_types,
)
from keras_prelu.typing import Array

__all__ = ["fuse_prelus", "name_batch_axis", "name_outputs", "remove_idle_nodes"]


@dataclass(frozen=True)
class _Match:
    """An Add that ends a PReLU.

    Attributes:
        add: Node. The Add.
        source: String. The tensor that the PReLU is applied to.
        factor: Array. The constant that its negative part is multiplied by: minus the slopes.
    """

    add: Any
    source: str
    factor: Array


def fuse_prelus(model: Any) -> int:
    """Write Relu(x) + Relu(−x)·c with constant c as PRelu(x, −c), in place.

    Those in float64 are left, since onnxruntime has no PRelu for them.

    Args:
        model: `onnx.ModelProto`.

    Returns:
        An integer: the number of rewritten PReLUs.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    known = constants(graph)
    matches = [
        match for node in graph.node if (match := _match(node, producers, known)) is not None
    ]
    for match in matches:
        add = match.add
        slopes = numpy_helper.from_array(-match.factor, f"{add.output[0]}_slopes")
        graph.initializer.append(slopes)
        add.CopyFrom(
            helper.make_node("PRelu", [match.source, slopes.name], list(add.output), name=add.name)
        )
    remove_unread(graph)
    return len(matches)


def _match(add: Any, producers: dict[str, Any], known: dict[str, Array]) -> _Match | None:
    def is_a(kind: str, name: str) -> bool:
        return name in producers and producers[name].op_type == kind

    def input_of(name: str) -> str:
        return str(producers[name].input[0])

    if add.op_type != "Add":
        return None
    for positive, product in (add.input, add.input[::-1]):
        if not (is_a("Relu", positive) and is_a("Mul", product)):
            continue
        operands = producers[product].input
        for negative, factor in (operands, operands[::-1]):
            if (
                factor in known
                and known[factor].dtype == np.float32
                and is_a("Relu", negative)
                and is_a("Neg", input_of(negative))
                and input_of(input_of(negative)) == input_of(positive)
            ):
                return _Match(add=add, source=input_of(positive), factor=known[factor])
    return None


def remove_idle_nodes(model: Any) -> int:
    """Remove casts to the type that a tensor already has, and reshapes to its shape, in place.

    Keras writes many such casts on PyTorch; tf2onnx converts transpositions of 1 × 1 images to such
    reshapes, only on one side of a PReLU.

    Args:
        model: `onnx.ModelProto` with inferred shapes.

    Returns:
        An integer: the number of removed nodes.
    """
    graph = model.graph
    types = tensor_types(graph)
    outputs = {output.name for output in graph.output}
    replacement: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = replacement.get(name, name)
        if (
            node.op_type in ("Cast", "Reshape")
            and node.output[0] not in outputs
            and _is_idle(node, types)
        ):
            replacement[node.output[0]] = node.input[0]
    for node in [node for node in graph.node if node.output[0] in replacement]:
        graph.node.remove(node)
    return len(replacement)


def _is_idle(node: Any, types: dict[str, Any]) -> bool:
    before, after = types.get(node.input[0]), types.get(node.output[0])
    if before is None or after is None:
        return False
    if node.op_type == "Cast":
        return bool(before.elem_type == after.elem_type)
    shapes = [[axis.dim_value for axis in type_.shape.dim] for type_ in (before, after)]
    # If all axes but the first are known and equal, the first axes are equal too.
    return len(shapes[0]) > 1 and shapes[0][1:] == shapes[1][1:] and all(shapes[0][1:])


def name_outputs(model: Any, names: Sequence[str]) -> None:
    """Give the outputs of a graph the names of the model's, in place.

    PyTorch numbers them. A name that stands for something else in the graph is not given.

    Args:
        model: `onnx.ModelProto`.
        names: Sequence of strings, one for each output, or empty.
    """
    graph = model.graph
    if len(set(names)) != len(graph.output):
        return
    taken = {value.name for value in (*graph.input, *graph.initializer)}
    computed = {name for node in graph.node for name in node.output}
    read_inside = {name for node in graph.node for name in read_names(node)[len(node.input) :]}
    renamed = {
        value.name: name
        for value, name in zip(graph.output, names, strict=True)
        if name not in taken | computed and value.name in computed - read_inside
    }
    for node in graph.node:
        for names_of in (node.input, node.output):
            for index, name in enumerate(names_of):
                names_of[index] = renamed.get(name, name)
    for value in graph.output:
        value.name = renamed.get(value.name, value.name)


def name_batch_axis(model: Any) -> None:
    """Name the open first axis of a graph's inputs and outputs "batch", in place."""
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and not axes[0].HasField("dim_value"):
            axes[0].dim_param = "batch"
