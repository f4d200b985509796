"""Linear layers as least-squares problems: each output row is a design row times the layer's kernel
matrix, plus the bias.

A `LinearView` says, for one kind of layer, which inputs meet which weights. NumPy only, in the
channels-last layout; calibration checks each view against the layer's real output before it trusts
it. A new kind of layer is one subclass, found by the layer's class name.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt

__all__ = ["LinearView", "linear_view"]

Array = npt.NDArray[Any]

_REGISTRY: dict[str, type[LinearView]] = {}


class LinearView:
    """One linear layer. Weights are split into `groups` that share no inputs and no outputs (one
    group for an ordinary layer)."""

    layers: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _REGISTRY.update(dict.fromkeys(cls.layers, cls))

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    @property
    def understood(self) -> bool:
        """Whether this layer is one that the view describes."""
        return True

    @property
    def kernel(self) -> Any:
        """The variable that is refitted."""
        return self.layer.kernel

    @property
    def bias(self) -> Any:
        """The variable that is added to the outputs, one for each group and output, or None."""
        return self.layer.bias if self.layer.use_bias else None

    def positions(self, shape: Sequence[int]) -> int:
        """Number of output positions of one sample whose input has `shape` (batch first, channels
        last)."""
        raise NotImplementedError

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        """Design rows (groups, rows, unknowns) for output `position[i]` of `inputs[sample[i]]`."""
        raise NotImplementedError

    def to_matrix(self, kernel: Array) -> Array:
        """The kernel as (groups, unknowns, outputs of a group)."""
        raise NotImplementedError

    def from_matrix(self, matrix: Array) -> Array:
        """The inverse of `to_matrix`."""
        raise NotImplementedError

    def bias_to_matrix(self, bias: Array) -> Array:
        """The bias as (groups, 1, outputs of a group)."""
        groups = self.to_matrix(np.empty(self.kernel.shape, dtype=bool)).shape[0]
        return bias.reshape(groups, 1, -1)

    def bias_from_matrix(self, matrix: Array) -> Array:
        """The inverse of `bias_to_matrix`."""
        return matrix.reshape(-1)

    def flat_outputs(self, outputs: Array) -> Array:
        """The layer's outputs (channels last) as (samples, positions, groups × outputs of a
        group)."""
        return outputs.reshape(outputs.shape[0], -1, outputs.shape[-1])

    def channels_last(self, tensor: Array) -> Array:
        """An input or output of the layer with its channels moved to the end."""
        if getattr(self.layer, "data_format", None) == "channels_first":
            return np.moveaxis(tensor, 1, -1)
        return tensor


def linear_view(layer: Any) -> LinearView | None:
    """The view of a layer, or None for a layer that is not linear in its kernel or not known
    here."""
    if not type(layer).__module__.startswith("keras."):
        return None
    view = _REGISTRY.get(type(layer).__name__)
    if (
        view is None
        or not layer.built
        or getattr(layer, "lora_enabled", False)
        or getattr(layer, "quantization_mode", None)
    ):
        return None
    found = view(layer)
    return found if found.understood else None


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
    """Each label of the equation says what its axis is: a position (in input and output), summed
    over (in input and kernel), an output (in kernel and output) or a group (in all three)."""

    layers = ("EinsumDense",)

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        operands, result = layer.equation.replace(" ", "").split("->")
        self._input, self._kernel_labels = operands.split(",")
        self._output = result
        elided = (
            self.layer.input_spec.ndim - len(self._input.replace("...", ""))
            if "..." in self._input
            else 0
        )
        labels = "".join(label for label in string.ascii_letters if label not in layer.equation)[
            :elided
        ]
        self._input, self._output = (
            text.replace("...", labels) for text in (self._input, self._output)
        )
        shared = set(self._input) & set(self._output)
        kernel = self._kernel_labels
        self._positions = "".join(
            label for label in self._output[1:] if label in shared and label not in kernel
        )
        self._groups = "".join(
            label for label in self._output if label in shared and label in kernel
        )
        self._summed = "".join(label for label in kernel if label not in self._output)
        self._outputs = "".join(label for label in self._output if label not in self._input)

    @property
    def understood(self) -> bool:
        """Whether samples come first, every input axis meets a weight or an output, and the bias,
        if any, has one number an output."""
        axes = self.layer.bias_axes
        return (
            self._input[0] == self._output[0]
            and set(self._input) <= set(self._kernel_labels) | set(self._output)
            and self._input[0] not in self._kernel_labels
            and (not axes or set(axes) == set(self._groups + self._outputs))
        )

    @property
    def bias(self) -> Any:
        return self.layer.bias

    def _sizes(self, shape: Sequence[int]) -> dict[str, int]:
        known = dict(zip(self._kernel_labels, self.kernel.shape, strict=True))
        return {**known, **dict(zip(self._input, shape, strict=True))}

    def positions(self, shape: Sequence[int]) -> int:
        sizes = self._sizes(shape)
        return math.prod(sizes[label] for label in self._positions)

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        groups, summed = (
            math.prod(self._sizes(inputs.shape)[label] for label in labels)
            for labels in (self._groups, self._summed)
        )
        ordered = np.einsum(
            f"{self._input}->{self._input[0]}{self._positions}{self._groups}{self._summed}", inputs
        )
        flat = ordered.reshape(len(inputs), -1, groups, summed)
        return np.moveaxis(flat[sample, position], 1, 0)

    def to_matrix(self, kernel: Array) -> Array:
        ordered = np.einsum(
            f"{self._kernel_labels}->{self._groups}{self._summed}{self._outputs}", kernel
        )
        sizes = dict(zip(self._kernel_labels, kernel.shape, strict=True))
        groups, summed = (
            math.prod(sizes[label] for label in labels) for labels in (self._groups, self._summed)
        )
        return ordered.reshape(groups, summed, -1)

    def from_matrix(self, matrix: Array) -> Array:
        order = self._groups + self._summed + self._outputs
        sizes = dict(zip(self._kernel_labels, self.kernel.shape, strict=True))
        return np.einsum(
            f"{order}->{self._kernel_labels}", matrix.reshape([sizes[label] for label in order])
        )

    def bias_to_matrix(self, bias: Array) -> Array:
        order = self._groups + self._outputs
        sizes = dict(zip(self._kernel_labels, self.kernel.shape, strict=True))
        given = "".join(label for label in self._output if label in order)
        ordered = np.einsum(f"{given}->{order}", bias.reshape([sizes[label] for label in given]))
        return ordered.reshape(math.prod(sizes[label] for label in self._groups), 1, -1)

    def bias_from_matrix(self, matrix: Array) -> Array:
        order = self._groups + self._outputs
        sizes = dict(zip(self._kernel_labels, self.kernel.shape, strict=True))
        given = "".join(label for label in self._output if label in order)
        return np.einsum(
            f"{order}->{given}", matrix.reshape([sizes[label] for label in order])
        ).reshape(self.layer.bias.shape)

    def flat_outputs(self, outputs: Array) -> Array:
        order = self._groups + self._outputs
        ordered = np.einsum(f"{self._output}->{self._output[0]}{self._positions}{order}", outputs)
        channels = math.prod(outputs.shape[self._output.index(label)] for label in order)
        return ordered.reshape(len(outputs), -1, channels)


class _WindowView(LinearView):
    """What the convolutions share: a sliding window of `kernel_size`, `strides`, `dilation_rate`
    and `padding`."""

    def positions(self, shape: Sequence[int]) -> int:
        return math.prod(self._output_sizes(shape[1:-1]))

    def _output_sizes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        return tuple(
            -(-size // stride)
            if self.layer.padding in ("same", "causal")
            else (size - extent) // stride + 1
            for size, stride, extent in zip(sizes, self._strides, self._extents, strict=True)
        )

    @property
    def _strides(self) -> tuple[int, ...]:
        return _per_axis(self.layer.strides, len(self.layer.kernel_size))

    @property
    def _dilations(self) -> tuple[int, ...]:
        return _per_axis(self.layer.dilation_rate, len(self.layer.kernel_size))

    @property
    def _extents(self) -> tuple[int, ...]:
        """The window's size along each axis, holes of a dilation counted in."""
        return tuple(
            (k - 1) * d + 1 for k, d in zip(self.layer.kernel_size, self._dilations, strict=True)
        )

    def _padding_before(self, sizes: Sequence[int], outputs: Sequence[int]) -> tuple[int, ...]:
        """Zeros before the first element: TensorFlow's "same", which puts an odd one at the end."""
        if self.layer.padding == "valid":
            return (0,) * len(sizes)
        if self.layer.padding == "causal":
            return tuple(extent - 1 for extent in self._extents)
        return tuple(
            max((output - 1) * stride + extent - size, 0) // 2
            for size, output, stride, extent in zip(
                sizes, outputs, self._strides, self._extents, strict=True
            )
        )

    def _windows(self, inputs: Array, sample: Array, position: Array) -> Array:
        """The input window of each output position: (rows, *kernel_size, channels), zero outside of
        the input."""
        sizes = inputs.shape[1:-1]
        outputs = self._output_sizes(sizes)
        before = self._padding_before(sizes, outputs)
        indices = [
            (place * stride - pad)[:, None] + dilation * np.arange(taps)[None]
            for place, stride, pad, dilation, taps in zip(
                np.unravel_index(position, outputs),
                self._strides,
                before,
                self._dilations,
                self.layer.kernel_size,
                strict=True,
            )
        ]
        return _gather(
            inputs,
            sample,
            indices,
            [(index >= 0) & (index < size) for index, size in zip(indices, sizes, strict=True)],
        )


class _ConvView(_WindowView):
    layers = ("Conv1D", "Conv2D", "Conv3D")

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        windows = self._windows(inputs, sample, position)
        grouped = windows.reshape(*windows.shape[:-1], self.layer.groups, -1)
        return np.moveaxis(grouped, -2, 0).reshape(self.layer.groups, len(sample), -1)

    def to_matrix(self, kernel: Array) -> Array:
        return np.moveaxis(
            kernel.reshape(-1, self.layer.groups, kernel.shape[-1] // self.layer.groups), 1, 0
        )

    def from_matrix(self, matrix: Array) -> Array:
        return np.moveaxis(matrix, 0, 1).reshape(self.kernel.shape)


class _DepthwiseView(_WindowView):
    layers = ("DepthwiseConv1D", "DepthwiseConv2D")

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        windows = self._windows(inputs, sample, position)
        return np.moveaxis(windows, -1, 0).reshape(windows.shape[-1], len(sample), -1)

    def to_matrix(self, kernel: Array) -> Array:
        return np.moveaxis(kernel.reshape(-1, *kernel.shape[-2:]), 1, 0)

    def from_matrix(self, matrix: Array) -> Array:
        return np.moveaxis(matrix, 0, 1).reshape(self.kernel.shape)


class _TransposedView(_WindowView):
    """y[o] = Σ u[i]·K[k] over the pairs with i·stride + k·dilation − pad = o: windows on the input
    with holes between its elements."""

    layers = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")

    def _output_sizes(self, sizes: Sequence[int]) -> tuple[int, ...]:
        shape = self.layer.compute_output_shape(self._in_layout((1, *sizes, self.kernel.shape[-1])))
        return tuple(shape[2:] if self.layer.data_format == "channels_first" else shape[1:-1])

    def _in_layout(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (
            (shape[0], shape[-1], *shape[1:-1])
            if self.layer.data_format == "channels_first"
            else shape
        )

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        sizes = inputs.shape[1:-1]
        outputs = self._output_sizes(sizes)
        before = self._padding_before(outputs, sizes)
        numerators = [
            (place + pad)[:, None] - dilation * np.arange(taps)[None]
            for place, pad, dilation, taps in zip(
                np.unravel_index(position, outputs),
                before,
                self._dilations,
                self.layer.kernel_size,
                strict=True,
            )
        ]
        indices = [
            numerator // stride for numerator, stride in zip(numerators, self._strides, strict=True)
        ]
        inside = [
            (numerator % stride == 0) & (index >= 0) & (index < size)
            for numerator, index, stride, size in zip(
                numerators, indices, self._strides, sizes, strict=True
            )
        ]
        return _gather(inputs, sample, indices, inside).reshape(1, len(sample), -1)

    def to_matrix(self, kernel: Array) -> Array:
        return np.swapaxes(kernel, -1, -2).reshape(1, -1, kernel.shape[-2])

    def from_matrix(self, matrix: Array) -> Array:
        *window, outputs, inputs = self.kernel.shape
        return np.swapaxes(matrix.reshape(*window, inputs, outputs), -1, -2)


class _SeparableView(_WindowView):
    """The pointwise half is refitted; the depthwise half, bilinear with it, is kept."""

    layers = ("SeparableConv1D", "SeparableConv2D")

    @property
    def kernel(self) -> Any:
        return self.layer.pointwise_kernel

    def rows(self, inputs: Array, sample: Array, position: Array) -> Array:
        windows = self._windows(inputs, sample, position)
        depthwise = keras.ops.convert_to_numpy(self.layer.depthwise_kernel).astype(windows.dtype)
        windows = windows.reshape(len(sample), -1, windows.shape[-1])
        return np.einsum(
            "rkc,kcm->rcm", windows, depthwise.reshape(-1, *depthwise.shape[-2:])
        ).reshape(1, len(sample), -1)

    def to_matrix(self, kernel: Array) -> Array:
        return kernel.reshape(1, *kernel.shape[-2:])

    def from_matrix(self, matrix: Array) -> Array:
        return matrix.reshape(self.kernel.shape)


def _per_axis(value: Any, rank: int) -> tuple[int, ...]:
    return (int(value),) * rank if isinstance(value, int) else tuple(int(item) for item in value)


def _gather(
    inputs: Array, sample: Array, indices: Sequence[Array], inside: Sequence[Array]
) -> Array:
    """`inputs[sample, i₀, i₁, …]` for every combination of the axes' indices (rows, taps), zero
    where one is not `inside`."""
    rank = len(indices)

    def spread(array: Array, axis: int) -> Array:
        return array.reshape(
            len(sample), *(array.shape[1] if i == axis else 1 for i in range(rank))
        )

    place = sample.reshape(-1, *(1,) * rank)
    outside = np.zeros((len(sample), *(1,) * rank), dtype=bool)
    for axis, (index, valid, size) in enumerate(
        zip(indices, inside, inputs.shape[1:-1], strict=True)
    ):
        place = place * size + spread(np.clip(index, 0, size - 1), axis)
        outside = outside | ~spread(valid, axis)
    windows = np.take(inputs.reshape(-1, inputs.shape[-1]), place, axis=0)
    windows[outside] = 0
    return windows
