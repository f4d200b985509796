"""Activations of ONNX graphs in a form that onnxruntime runs fast on a CPU.

On a CPU, convolutions compute in a blocked layout, which a PRelu operator breaks: its input and
output are reordered, and its kernel is slow as well. For 0 ≤ a ≤ 1, max(x, a·x) is also a·x +
relu((1 − a)·x): two depthwise convolutions with kernels of one pixel, whose ReLU and sum are fused
into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.deployment.formats.onnx.graph import constants, remove_unread, tensor_types
from keras_prelu.typing import Array

__all__ = ["use_convolutions"]

_OPSET_OF_OPEN_CLIPS = 11


@dataclass(frozen=True)
class _Cap:
    """A Min that is the only node that reads an activation.

    Attributes:
        output: String. The name of its result.
        value: Array of shape (). The cap.
    """

    output: str
    value: Array


@dataclass(frozen=True)
class _Activation:
    """An activation on images.

    Attributes:
        source: String. The tensor that it is applied to.
        output: String. The name of its result.
        slopes: Array of shape (channels,). Slopes from 0 to 1.
        cap: `_Cap` or None. The cap on the result, if any.
    """

    source: str
    output: str
    slopes: Array
    cap: _Cap | None


def use_convolutions(model: Any) -> int:
    """Rewrite the PRelus and LeakyRelus of images, in place.

    Each becomes two depthwise convolutions, a Relu and an Add. A Min after an activation becomes a
    Clip before it, which is fused into the convolution there. Activations with slopes below 0 or
    above 1, and those of anything but float32 images, are left alone.

    Args:
        model: `onnx.ModelProto` with inferred shapes.

    Returns:
        An integer: the number of rewritten activations.
    """
    graph = model.graph
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    activations = _find_activations(graph, capped=opset >= _OPSET_OF_OPEN_CLIPS)
    replacements = {
        activation.output: _convolution_nodes(graph, activation) for activation in activations
    }
    replaced_caps = {
        activation.cap.output for activation in activations if activation.cap is not None
    }
    nodes = []
    for node in graph.node:
        output = node.output[0]
        if output in replacements:
            nodes += replacements[output]
        elif output not in replaced_caps:
            nodes.append(node)
    # Deleting the graph's nodes clears them, so copies are put back.
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    remove_unread(graph)
    return len(activations)


def _find_activations(graph: Any, *, capped: bool) -> list[_Activation]:
    known, types = constants(graph), tensor_types(graph)
    readers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    activations = []
    for node in graph.node:
        slopes = _channel_slopes(node, known, types)
        if slopes is not None:
            cap = _find_cap(readers.get(node.output[0], []), known) if capped else None
            activations.append(
                _Activation(source=node.input[0], output=node.output[0], slopes=slopes, cap=cap)
            )
    return activations


def _channel_slopes(node: Any, known: dict[str, Array], types: dict[str, Any]) -> Array | None:
    """Return one slope for each channel of an activation that can be rewritten, or None."""
    from onnx import TensorProto

    if node.op_type not in ("PRelu", "LeakyRelu") or node.input[0] not in types:
        return None
    type_ = types[node.input[0]]
    sizes = [axis.dim_value for axis in type_.shape.dim]
    if type_.elem_type != TensorProto.FLOAT or len(sizes) != 4 or not sizes[1]:
        return None
    if node.op_type == "LeakyRelu":
        attributes = {attribute.name: attribute.f for attribute in node.attribute}
        slopes = np.asarray(attributes.get("alpha", 0.01), np.float32)
    elif node.input[1] in known:
        slopes = known[node.input[1]]
    else:
        return None
    if slopes.size > 1 and slopes.shape[-3:] != (sizes[1], 1, 1):
        return None
    if slopes.min() < 0 or slopes.max() > 1:
        return None
    return np.broadcast_to(slopes.reshape(-1), (sizes[1],))


def _find_cap(readers: list[Any], known: dict[str, Array]) -> _Cap | None:
    if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Min":
        return None
    caps = [known[name] for name in readers[0].input if name in known]
    if len(caps) != 1 or caps[0].size != 1 or caps[0] < 0:
        return None
    return _Cap(output=readers[0].output[0], value=caps[0].reshape(()))


def _convolution_nodes(graph: Any, activation: _Activation) -> list[Any]:
    """Return the nodes that replace an activation, and add their constants to the graph.

    A cap of 0 or more has the same effect before the activation as after it: positive values pass
    the activation unchanged.
    """
    from onnx import helper, numpy_helper

    output, slopes = activation.output, activation.slopes.astype(np.float32)
    nodes = []

    def constant(name: str, values: Array) -> str:
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(values), f"{output}_{name}")
        )
        return f"{output}_{name}"

    def scale(source: str, name: str, factors: Array) -> Any:
        kernel = constant(f"{name}_kernel", factors.reshape(-1, 1, 1, 1))
        result = f"{output}_{name}"
        return helper.make_node(
            "Conv", [source, kernel], [result], group=len(factors), kernel_shape=[1, 1], name=result
        )

    source, result = activation.source, output
    if activation.cap is not None:
        inputs = [source, "", constant("cap", activation.cap.value)]
        source, result = f"{output}_capped", activation.cap.output
        nodes.append(helper.make_node("Clip", inputs, [source]))
    rest = scale(source, "rest", np.float32(1.0) - slopes)
    linear = scale(source, "linear", slopes)
    positive = helper.make_node("Relu", [rest.output[0]], [f"{output}_positive"])
    total = helper.make_node("Add", [linear.output[0], positive.output[0]], [result])
    return [*nodes, rest, positive, linear, total]
