"""Activations of ONNX graphs in a form that onnxruntime runs fast on a CPU.

There, convolutions compute in a blocked layout, which a PRelu operator breaks: its input and output
are reordered, and its kernel is slow besides. max(x, a·x) for 0 ≤ a ≤ 1 is also a·x + relu((1 −
a)·x): two depthwise convolutions with kernels of one pixel, whose ReLU and sum are fused into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.deployment.formats.onnx.graph import constants, remove_unread

__all__ = ["with_convolutions"]

_OPSET_OF_OPEN_CLIPS = 11


@dataclass(frozen=True)
class _Activation:
    """An activation on images.

    Attributes:
        source: The name of what it is of.
        output: The name of its result.
        slopes: One for each channel, from 0 to 1.
        cap: The result of the Min that is all that reads it, and the number there; None where there
            is none.
    """

    source: str
    output: str
    slopes: np.ndarray
    cap: tuple[str, np.ndarray] | None


def with_convolutions(model: Any) -> int:
    """Write the PRelus and LeakyRelus of images as two depthwise convolutions, a Relu and an Add,
    in place; how often that was done.

    A Min after one becomes a Clip before it, which is fused into the convolution there. Left alone
    are activations with slopes below 0 or above 1, and those of anything but float32 images.

    Args:
        model: An `onnx.ModelProto` with inferred shapes.
    """
    graph = model.graph
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    found = _activations(graph, capped=opset >= _OPSET_OF_OPEN_CLIPS)
    made = {activation.output: _steps(graph, activation) for activation in found}
    caps = {activation.cap[0] for activation in found if activation.cap is not None}
    nodes = [
        step
        for node in graph.node
        for step in made.get(node.output[0], [] if node.output[0] in caps else [node])
    ]
    copies = [
        type(node).FromString(node.SerializeToString()) for node in nodes
    ]  # which the next line doesn't clear
    del graph.node[:]
    graph.node.extend(copies)
    remove_unread(graph)
    return len(found)


def _activations(graph: Any, *, capped: bool) -> list[_Activation]:
    known = constants(graph)
    types = {
        value.name: value.type.tensor_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    readers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in graph.node:
        slopes = _slopes(node, known, types)
        if slopes is not None:
            cap = _cap(readers.get(node.output[0], []), known) if capped else None
            found.append(_Activation(node.input[0], node.output[0], slopes, cap))
    return found


def _slopes(node: Any, known: dict[str, np.ndarray], types: dict[str, Any]) -> np.ndarray | None:
    """One for each channel of an activation that can be rewritten, else None."""
    from onnx import TensorProto

    if node.op_type not in ("PRelu", "LeakyRelu") or node.input[0] not in types:
        return None
    type_ = types[node.input[0]]
    sizes = [axis.dim_value for axis in type_.shape.dim]
    if type_.elem_type != TensorProto.FLOAT or len(sizes) != 4 or not sizes[1]:
        return None
    if node.op_type == "LeakyRelu":
        slopes = np.asarray(
            next((attribute.f for attribute in node.attribute if attribute.name == "alpha"), 0.01),
            np.float32,
        )
    elif node.input[1] in known:
        slopes = known[node.input[1]]
    else:
        return None
    if slopes.size > 1 and slopes.shape[-3:] != (sizes[1], 1, 1):
        return None
    return (
        np.broadcast_to(slopes.reshape(-1), (sizes[1],))
        if slopes.min() >= 0 and slopes.max() <= 1
        else None
    )


def _cap(readers: list[Any], known: dict[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Min":
        return None
    caps = [known[name] for name in readers[0].input if name in known]
    return (
        (readers[0].output[0], caps[0].reshape(()))
        if len(caps) == 1 and caps[0].size == 1 and caps[0] >= 0
        else None
    )


def _steps(graph: Any, activation: _Activation) -> list[Any]:
    """The nodes to write instead. A cap of 0 or more is the same before the activation as after it:
    slopes leave what is positive alone."""
    from onnx import helper, numpy_helper

    output, slopes, steps = activation.output, activation.slopes.astype(np.float32), []

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(values), f"{output}_{name}")
        )
        return f"{output}_{name}"

    def scaled(source: str, name: str, factors: np.ndarray) -> Any:
        kernel = constant(f"{name}_kernel", factors.reshape(-1, 1, 1, 1))
        result = f"{output}_{name}"
        return helper.make_node(
            "Conv", [source, kernel], [result], group=len(factors), kernel_shape=[1, 1], name=result
        )

    source = activation.source
    if activation.cap is not None:
        steps.append(
            helper.make_node(
                "Clip", [source, "", constant("cap", activation.cap[1])], [f"{output}_capped"]
            )
        )
        source = f"{output}_capped"
    rest, linear = (
        scaled(source, "rest", np.float32(1.0) - slopes),
        scaled(source, "linear", slopes),
    )
    positive = helper.make_node("Relu", [rest.output[0]], [f"{output}_positive"])
    result = output if activation.cap is None else activation.cap[0]
    return [
        *steps,
        rest,
        positive,
        linear,
        helper.make_node("Add", [linear.output[0], positive.output[0]], [result]),
    ]
