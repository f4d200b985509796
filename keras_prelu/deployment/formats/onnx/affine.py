"""Changing the constants of an ONNX graph so that it computes another affine function of a
tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.deployment.formats.onnx.graph import constants, read_names, tensor_types
from keras_prelu.typing import Array

__all__ = ["Affine", "Change", "ChannelScaler", "fold_into_convolutions"]

Change = Callable[[Array, Array], None]
"""Function of factors and summands, arrays of shape (channels,), that changes a graph."""


@dataclass(frozen=True)
class Affine:
    """Images as factors·x + summands, with a number for each channel.

    Attributes:
        source: String. The tensor x.
        factors: Array of shape (channels,).
        summands: Array of shape (channels,).
    """

    source: str
    factors: Array
    summands: Array

    def of(self, outer: Affine) -> Affine:
        """Return the images that `outer` makes of these, its source."""
        return Affine(
            source=self.source,
            factors=outer.factors * self.factors,
            summands=outer.factors * self.summands + outer.summands,
        )


def fold_into_convolutions(graph: Any) -> None:
    """Make products and sums with a number for each channel a part of the convolution before.

    Args:
        graph: `onnx.GraphProto`. It is changed.
    """
    scaler = ChannelScaler(graph)
    for node in [node for node in graph.node if scaler.fold(node)]:
        graph.node.remove(node)


class ChannelScaler:
    """Replacing images x in a graph by factors·x + summands, with a number for each channel.

    The numbers become part of the constants of what computes x: a convolution, a normalization, or
    sums and products with constants after these. They get constants of their own, since others may
    read the old ones.

    Args:
        graph: `onnx.GraphProto`.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = constants(graph)
        self._types = tensor_types(graph)
        self._producers = {name: node for node in graph.node for name in node.output}
        reads = [name for node in graph.node for name in read_names(node)]
        reads += [output.name for output in graph.output]
        self._counts = {name: reads.count(name) for name in set(reads)}

    def change(self, name: str, channels: int, *, with_summands: bool) -> Change | None:
        """Return the function that replaces a tensor, or None if constants alone can't.

        Args:
            name: String. The tensor, of shape (batch, channels, height, width).
            channels: Integer. The number of its channels.
            with_summands: Boolean. Whether there will be summands that are not 0.
        """
        node = self._producers.get(name)
        if node is None or self._counts.get(name) != 1:
            return None
        if node.op_type == "Conv":
            return self._change_of_convolution(node)
        if node.op_type == "BatchNormalization":
            return self._change_of_normalization(node)
        index = self._constant_input(node, channels)
        if index is not None and node.op_type == "Add":
            return self._change_of_sum(node, index, channels)
        if index is not None and node.op_type == "Mul" and not with_summands:
            return self._change_of_product(node, index)
        return None

    def affine(self, name: str, channels: int) -> Affine | None:
        """Return what normalizations, sums and products with constants make of another tensor.

        Args:
            name: String. The tensor, of shape (batch, channels, height, width).
            channels: Integer. The number of its channels.

        Returns:
            `Affine`, or None if they make nothing of it, if others read what is in between, or if a
            convolution before them can do the same.
        """
        total = None
        source = name
        while self._counts.get(source) == 1 and source in self._producers:
            node = self._producers[source]
            if node.op_type == "Conv":
                return None
            step = self._affine_of_node(node, channels)
            if step is None:
                break
            total = step if total is None else step.of(total)
            source = step.source
        return total

    def _affine_of_node(self, node: Any, channels: int) -> Affine | None:
        if node.op_type == "BatchNormalization":
            return self._affine_of_normalization(node)
        index = self._constant_input(node, channels)
        if index is None or node.op_type not in ("Add", "Mul"):
            return None
        source = node.input[1 - index]
        if not self._is_image(source, channels):  # A number for each channel would make it one.
            return None
        numbers = self._constants[node.input[index]].reshape(-1)
        ones = np.ones_like(numbers)
        return Affine(
            source=source,
            factors=numbers if node.op_type == "Mul" else ones,
            summands=numbers if node.op_type == "Add" else 0 * ones,
        )

    def _is_image(self, name: str, channels: int) -> bool:
        """Return whether a tensor is known to have the shape (batch, channels, height, width)."""
        if name not in self._types:
            return False
        axes = self._types[name].shape.dim
        return len(axes) == 4 and axes[1].dim_value == channels

    def _affine_of_normalization(self, node: Any) -> Affine | None:
        if len(node.output) > 1 or any(name not in self._constants for name in node.input[1:]):
            return None
        scale, bias, mean, variance = (self._constants[name] for name in node.input[1:])
        attributes = {attribute.name: attribute.f for attribute in node.attribute}
        factors = scale / np.sqrt(variance + np.float32(attributes.get("epsilon", 1e-5)))
        return Affine(source=node.input[0], factors=factors, summands=bias - mean * factors)

    def fold(self, node: Any) -> bool:
        """Let the convolution before a product or sum compute it, and return whether it can.

        The node is without a reader then, and is to be removed.
        """
        for name in node.input if node.op_type in ("Add", "Mul") else ():
            source = self._producers.get(name)
            if source is None or source.op_type != "Conv":
                continue
            channels = len(self._constants.get(source.input[1], ()))
            index = self._constant_input(node, channels)
            change = self.change(name, channels, with_summands=True)
            if index is None or change is None:
                continue
            numbers = self._constants[node.input[index]].reshape(-1)
            if node.op_type == "Mul":
                change(numbers, np.zeros_like(numbers))
            else:
                change(np.ones_like(numbers), numbers)
            source.output[0] = node.output[0]
            self._producers[node.output[0]] = source
            return True
        return False

    def _constant_input(self, node: Any, channels: int) -> int | None:
        """Return which input of a node is a constant with a number for each channel, if any."""
        for index, name in enumerate(node.input):
            if name in self._constants:
                shape = self._constants[name].shape
                if self._constants[name].size == channels and (1, *shape)[-3:] == (channels, 1, 1):
                    return index
        return None

    def _change_of_convolution(self, node: Any) -> Change | None:
        if any(name and name not in self._constants for name in node.input[1:]):
            return None

        def change(factors: Array, summands: Array) -> None:
            kernel = self._constants[node.input[1]]
            has_bias = len(node.input) > 2 and bool(node.input[2])
            bias = self._constants[node.input[2]] if has_bias else np.float32(0)
            by_unit = factors.reshape(-1, *[1] * (kernel.ndim - 1))
            self._set_input(node, 1, kernel * by_unit)
            if has_bias or summands.any():
                self._set_input(node, 2, bias * factors + summands)

        return change

    def _change_of_normalization(self, node: Any) -> Change | None:
        if len(node.output) > 1 or any(name not in self._constants for name in node.input[1:]):
            return None

        def change(factors: Array, summands: Array) -> None:
            scale, bias = (self._constants[node.input[index]] for index in (1, 2))
            self._set_input(node, 1, scale * factors)
            self._set_input(node, 2, bias * factors + summands)

        return change

    def _change_of_sum(self, node: Any, index: int, channels: int) -> Change | None:
        change_other = self.change(node.input[1 - index], channels, with_summands=False)
        if change_other is None:
            return None

        def change(factors: Array, summands: Array) -> None:
            change_other(factors, np.zeros_like(summands))
            constant = self._constants[node.input[index]].reshape(-1)
            self._set_input(node, index, (constant * factors + summands).reshape(1, -1, 1, 1))

        return change

    def _change_of_product(self, node: Any, index: int) -> Change:
        def change(factors: Array, _: Array) -> None:
            constant = self._constants[node.input[index]].reshape(-1)
            self._set_input(node, index, (constant * factors).reshape(1, -1, 1, 1))

        return change

    def _set_input(self, node: Any, index: int, values: Array) -> None:
        from onnx import numpy_helper

        name = f"{node.output[0]}_input_{index}"
        while len(node.input) <= index:
            node.input.append("")
        node.input[index] = name
        self._constants[name] = values.astype(np.float32)
        self._graph.initializer.append(numpy_helper.from_array(self._constants[name], name))
