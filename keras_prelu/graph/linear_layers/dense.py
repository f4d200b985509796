"""Views of Dense and EinsumDense."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_prelu.graph.linear_layers.base import LinearView
from keras_prelu.typing import Array

__all__: list[str] = []  # The classes are found by `linear_view`.


class _DenseView(LinearView):
    layers = ("Dense",)

    def positions(self, shape: Sequence[int]) -> int:
        return math.prod(shape[1:-1])

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        flat = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])
        return flat[sample, position][None]

    def to_matrix(self, kernel: Array) -> Array:
        return kernel[None]

    def from_matrix(self, matrix: Array) -> Array:
        return matrix[0]


class _EinsumView(LinearView):
    """Layers that an einsum equation defines.

    Each label of the equation tells the role of its axis: a position (in input and output), summed
    over (in input and kernel), an output (in kernel and output) or a group (in all three).
    """

    layers = ("EinsumDense",)

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        operands, self._output = layer.equation.replace(" ", "").split("->")
        self._input, self._kernel = operands.split(",")
        if "..." in self._input:
            elided_axes = layer.input_spec.ndim - len(self._input.replace("...", ""))
            unused = [label for label in string.ascii_letters if label not in layer.equation]
            labels = "".join(unused[:elided_axes])
            self._input = self._input.replace("...", labels)
            self._output = self._output.replace("...", labels)
        shared = [label for label in self._output if label in self._input]
        self._positions = "".join(
            label for label in shared if label not in self._kernel and label != self._output[0]
        )
        self._groups = "".join(label for label in shared if label in self._kernel)
        self._summed = "".join(label for label in self._kernel if label not in self._output)
        self._outputs = "".join(label for label in self._output if label not in self._input)

    @property
    def describes_layer(self) -> bool:
        """Whether the equation and the shape of the bias fit a least-squares problem.

        Samples come first, every input axis meets a weight or an output, and the bias, if any, has
        one entry for each output.
        """
        axes = self.layer.bias_axes
        return (
            self._input[0] == self._output[0]
            and set(self._input) <= set(self._kernel) | set(self._output)
            and self._input[0] not in self._kernel
            and (not axes or set(axes) == set(self._groups + self._outputs))
        )

    @property
    def bias(self) -> Any:
        return self.layer.bias

    @property
    def writes_channels_last(self) -> bool:
        return self._groups + self._outputs == self._output[-1]

    @property
    def _kernel_sizes(self) -> dict[str, int]:
        return dict(zip(self._kernel, self.kernel.shape, strict=True))

    def _sizes(self, shape: Sequence[int]) -> dict[str, int]:
        return {**self._kernel_sizes, **dict(zip(self._input, shape, strict=True))}

    def positions(self, shape: Sequence[int]) -> int:
        return _product(self._positions, self._sizes(shape))

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        sizes = self._sizes(inputs.shape)
        order = f"{self._input[0]}{self._positions}{self._groups}{self._summed}"
        ordered = np.einsum(f"{self._input}->{order}", inputs)
        groups, summed = _product(self._groups, sizes), _product(self._summed, sizes)
        flat = ordered.reshape(len(inputs), -1, groups, summed)
        return np.moveaxis(flat[sample, position], 1, 0)

    def to_matrix(self, kernel: Array) -> Array:
        sizes = dict(zip(self._kernel, kernel.shape, strict=True))
        order = f"{self._groups}{self._summed}{self._outputs}"
        ordered = np.einsum(f"{self._kernel}->{order}", kernel)
        return ordered.reshape(_product(self._groups, sizes), _product(self._summed, sizes), -1)

    def from_matrix(self, matrix: Array) -> Array:
        order, sizes = self._groups + self._summed + self._outputs, self._kernel_sizes
        ordered = matrix.reshape([sizes[label] for label in order])
        return np.einsum(f"{order}->{self._kernel}", ordered)

    def bias_to_matrix(self, bias: Array) -> Array:
        order, sizes = self._groups + self._outputs, self._kernel_sizes
        bias_labels = "".join(label for label in self._output if label in order)
        ordered = np.einsum(
            f"{bias_labels}->{order}", bias.reshape([sizes[label] for label in bias_labels])
        )
        return ordered.reshape(_product(self._groups, sizes), 1, -1)

    def bias_from_matrix(self, matrix: Array) -> Array:
        order, sizes = self._groups + self._outputs, self._kernel_sizes
        bias_labels = "".join(label for label in self._output if label in order)
        ordered = matrix.reshape([sizes[label] for label in order])
        return np.einsum(f"{order}->{bias_labels}", ordered).reshape(self.layer.bias.shape)

    def flat_outputs(self, outputs: Array) -> Array:
        sizes = dict(zip(self._output, outputs.shape, strict=True))
        channels = self._groups + self._outputs
        order = f"{self._output[0]}{self._positions}{channels}"
        ordered = np.einsum(f"{self._output}->{order}", outputs)
        return ordered.reshape(len(outputs), -1, _product(channels, sizes))


def _product(labels: str, sizes: Mapping[str, int]) -> int:
    return math.prod(sizes[label] for label in labels)
