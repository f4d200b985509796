"""Activations of ONNX graphs in forms that onnxruntime runs fast on a CPU.

On a CPU, convolutions compute in a blocked layout, which a PRelu operator breaks: its input and
output are reordered, and its kernel is slow as well. A Relu is a part of the convolution before it,
and a sum a part of the convolution that is added. With c(x; k, b) for a depthwise convolution with
kernels k of one pixel and a bias b, a PReLU of slopes 0 ≤ a ≤ 1 is

    c(x; a) + relu(c(x; 1 − a)).

Where something with constants of its own computes x, these can be changed. With a cap,
v = relu(cap − x) is one convolution, and the capped PReLU is

    c(v; −a, cap·a) + relu(c(v; a − 1, cap·(1 − a))).

Without, x' = (1 − a)·x is one convolution, and the PReLU is relu(x') + c(x'; a / (1 − a)). A
LeakyRelu is a part of the convolution before it, but not of a sum.

A normalization x = s·z + t that no convolution precedes, as in DenseNet, is a sum and a product to
onnxruntime. It becomes one convolution c(z; s, t), of which a Relu, a Clip and a LeakyRelu are a
part again; and without a cap the PReLU is c(z; a·s, a·t) + relu(c(z; (1 − a)·s, (1 − a)·t)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.deployment.formats.onnx.affine import Affine, Change, ChannelScaler
from keras_prelu.deployment.formats.onnx.graph import constants, remove_unread, tensor_types
from keras_prelu.typing import Array

__all__ = ["use_convolutions"]

_OPSET_OF_OPEN_CLIPS = 11

_FUSED = ("Relu", "Clip", "LeakyRelu")
"""What onnxruntime makes a part of the convolution before it."""

_LARGEST_OF_ONE_FACTOR = 0.9
"""The largest slope a for which rounding errors may be multiplied by 1 / (1 − a)."""


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
        affine: `Affine` or None. The source as normalizations make it of another tensor, if no
            convolution precedes them.
        change: `Change` or None. Function that changes the constants of what computes the source,
            if these can make it another affine function of the same.
    """

    source: str
    output: str
    slopes: Array
    cap: _Cap | None
    affine: Affine | None
    change: Change | None


def use_convolutions(model: Any) -> int:
    """Rewrite the PRelus and LeakyRelus of images, in place.

    Each becomes depthwise convolutions, Relus and an Add, which include a Min after it and a
    normalization before it. A normalization before a Relu or a Clip becomes a convolution, too.
    LeakyRelus without a Min that follow a convolution are left alone, and so are activations with
    slopes below 0 or above 1, and those of anything but float32 images.

    Args:
        model: `onnx.ModelProto` with inferred shapes.

    Returns:
        An integer: the number of rewritten activations.
    """
    graph = model.graph
    _normalize_by_convolutions(graph)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    activations = _find_activations(graph, has_clips=opset >= _OPSET_OF_OPEN_CLIPS)
    replacements = {
        activation.output: _replacement(graph, activation) for activation in activations
    }
    replaced_caps = {
        activation.cap.output for activation in activations if activation.cap is not None
    }
    _replace_nodes(graph, replacements, removed=replaced_caps)
    return len(activations)


def _normalize_by_convolutions(graph: Any) -> None:
    """Let convolutions compute the normalizations that no convolution precedes, in place.

    Those before a PRelu without a cap stay, of which the replacement computes them twice.
    """
    known, types, scaler = constants(graph), tensor_types(graph), ChannelScaler(graph)
    readers = _readers(graph)
    convolutions = {}
    for node in graph.node:
        if node.op_type == "PRelu":
            if _find_cap(readers.get(node.output[0], []), known) is None:
                continue
        elif node.op_type not in _FUSED:
            continue
        name = node.input[0]
        channels = _channels_of_image(name, types)
        affine = scaler.affine(name, channels) if channels else None
        if affine is not None:
            new = _Nodes(graph, name)
            new.normalized(name, affine)
            convolutions[name] = new.nodes
    _replace_nodes(graph, convolutions, removed=())


def _replace_nodes(graph: Any, replacements: dict[str, list[Any]], removed: Iterable[str]) -> None:
    """Replace nodes, which are named by their results, remove others, and what is unread then."""
    nodes = []
    for node in graph.node:
        output = node.output[0]
        if output in replacements:
            nodes += replacements[output]
        elif output not in removed:
            nodes.append(node)
    # Deleting the graph's nodes clears them, so copies are put back.
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    remove_unread(graph)


def _readers(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes that read each tensor, and None for an output of the graph."""
    readers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _channels_of_image(name: str, types: dict[str, Any]) -> int:
    """Return the number of channels of float32 images, and 0 for other tensors."""
    from onnx import TensorProto

    if name not in types or types[name].elem_type != TensorProto.FLOAT:
        return 0
    axes = types[name].shape.dim
    return axes[1].dim_value if len(axes) == 4 else 0


def _find_activations(graph: Any, *, has_clips: bool) -> list[_Activation]:
    known, types, scaler = constants(graph), tensor_types(graph), ChannelScaler(graph)
    readers = _readers(graph)
    activations = []
    for node in graph.node:
        slopes = _channel_slopes(node, known, types)
        if slopes is None:
            continue
        cap = _find_cap(readers.get(node.output[0], []), known)
        affine = scaler.affine(node.input[0], len(slopes))
        change = scaler.change(node.input[0], len(slopes), with_summands=cap is not None)
        if change is None and not has_clips:
            cap = None
        if node.op_type == "LeakyRelu" and change is not None and cap is None:
            continue
        activations.append(
            _Activation(
                source=node.input[0],
                output=node.output[0],
                slopes=slopes,
                cap=cap,
                affine=affine,
                change=change,
            )
        )
    return activations


def _channel_slopes(node: Any, known: dict[str, Array], types: dict[str, Any]) -> Array | None:
    """Return one slope for each channel of an activation that can be rewritten, or None."""
    channels = _channels_of_image(node.input[0], types) if node.input else 0
    if node.op_type not in ("PRelu", "LeakyRelu") or not channels:
        return None
    if node.op_type == "LeakyRelu":
        attributes = {attribute.name: attribute.f for attribute in node.attribute}
        slopes = np.asarray(attributes.get("alpha", 0.01), np.float32)
    elif node.input[1] in known:
        slopes = known[node.input[1]]
    else:
        return None
    if slopes.size > 1 and slopes.shape[-3:] != (channels, 1, 1):
        return None
    if slopes.min() < 0 or slopes.max() > 1:
        return None
    return np.broadcast_to(slopes.reshape(-1), (channels,))


def _find_cap(readers: list[Any], known: dict[str, Array]) -> _Cap | None:
    if len(readers) != 1 or readers[0] is None or readers[0].op_type != "Min":
        return None
    caps = [known[name] for name in readers[0].input if name in known]
    if len(caps) != 1 or caps[0].size != 1 or caps[0] < 0:
        return None
    return _Cap(output=readers[0].output[0], value=caps[0].reshape(()))


def _replacement(graph: Any, activation: _Activation) -> list[Any]:
    """Return the nodes that replace an activation, and change the constants of the graph."""
    affine, change, cap = activation.affine, activation.change, activation.cap
    if affine is not None and cap is None:
        return _of_an_affine(graph, activation, affine)
    if change is not None and cap is not None:
        return _after_a_negated_cap(graph, activation, change, cap)
    if change is not None and activation.slopes.max() <= _LARGEST_OF_ONE_FACTOR:
        return _with_one_convolution(graph, activation, change)
    return _with_two_convolutions(graph, activation)


def _of_an_affine(graph: Any, activation: _Activation, affine: Affine) -> list[Any]:
    """Return nodes that compute the activation from what its source is an affine function of."""
    new, slopes = _Nodes(graph, activation.output), activation.slopes
    rest, linear = (
        new.scaled(name, affine.source, part * affine.factors, part * affine.summands)
        for name, part in (("rest", 1 - slopes), ("linear", slopes))
    )
    new.add(activation.output, linear, new.relu("positive", rest))
    return new.nodes


def _after_a_negated_cap(
    graph: Any, activation: _Activation, change: Change, cap: _Cap
) -> list[Any]:
    """Return nodes for v = cap − min(x, cap), from which the activation is computed."""
    new, slopes = _Nodes(graph, activation.output), activation.slopes
    change(-np.ones_like(slopes), np.full_like(slopes, cap.value))
    below = new.relu("below", activation.source)
    rest = new.scaled("rest", below, slopes - 1, cap.value * (1 - slopes))
    positive = new.relu("positive", rest)
    linear = new.scaled("linear", below, -slopes, cap.value * slopes)
    new.add(cap.output, linear, positive)
    return new.nodes


def _with_one_convolution(graph: Any, activation: _Activation, change: Change) -> list[Any]:
    """Return nodes for x' = (1 − a)·x, from which the activation is computed."""
    new, slopes = _Nodes(graph, activation.output), activation.slopes
    change(1 - slopes, np.zeros_like(slopes))
    positive = new.relu("positive", activation.source)
    linear = new.scaled("linear", activation.source, slopes / (1 - slopes))
    new.add(activation.output, linear, positive)
    return new.nodes


def _with_two_convolutions(graph: Any, activation: _Activation) -> list[Any]:
    """Return nodes that compute the activation from any x.

    A cap of 0 or more has the same effect before the activation as after it: positive values pass
    the activation unchanged.
    """
    new, slopes, cap = _Nodes(graph, activation.output), activation.slopes, activation.cap
    source = activation.source if cap is None else new.clip("capped", activation.source, cap.value)
    positive = new.relu("positive", new.scaled("rest", source, 1 - slopes))
    linear = new.scaled("linear", source, slopes)
    new.add(activation.output if cap is None else cap.output, linear, positive)
    return new.nodes


class _Nodes:
    """Nodes that replace an activation, with their constants, which are added to the graph.

    Args:
        graph: `onnx.GraphProto`.
        prefix: String. Start of the names of their results.
    """

    def __init__(self, graph: Any, prefix: str) -> None:
        self.nodes: list[Any] = []
        self._graph, self._prefix = graph, prefix

    def scaled(self, name: str, source: str, factors: Array, summands: Array | None = None) -> str:
        """Apply a depthwise convolution with kernels of one pixel."""
        return self._scaled(self._named(name), source, factors, summands)

    def normalized(self, result: str, affine: Affine) -> None:
        """Append such a convolution, whose result has a name without the prefix."""
        self._scaled(result, affine.source, affine.factors, affine.summands)

    def relu(self, name: str, source: str) -> str:
        return self._node("Relu", [source], self._named(name))

    def clip(self, name: str, source: str, cap: Array) -> str:
        at = self._constant(self._named(f"{name}_at"), cap)
        return self._node("Clip", [source, "", at], self._named(name))

    def add(self, result: str, first: str, second: str) -> None:
        """Append the node whose result has a name without the prefix."""
        self._node("Add", [first, second], result)

    def _scaled(self, result: str, source: str, factors: Array, summands: Array | None) -> str:
        inputs = [source, self._constant(f"{result}_kernel", factors.reshape(-1, 1, 1, 1))]
        if summands is not None:
            inputs.append(self._constant(f"{result}_bias", summands))
        return self._node("Conv", inputs, result, group=len(factors), kernel_shape=[1, 1])

    def _named(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def _node(self, kind: str, inputs: list[str], result: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [result], name=result, **attributes))
        return result

    def _constant(self, name: str, values: Array) -> str:
        from onnx import numpy_helper

        constant = np.ascontiguousarray(values, np.float32)
        self._graph.initializer.append(numpy_helper.from_array(constant, name))
        return name
