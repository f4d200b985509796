"""Views of the convolutions, on sliding windows of their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.linear_layers.base import LinearView
from keras_prelu.typing import Array

__all__: list[str] = []  # The classes are found by `linear_view`.


class _WindowView(LinearView):
    """Base class of the convolutions, which slide a window over their input.

    The window has a `kernel_size`, `strides`, `dilation_rate` and `padding`.
    """

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
        """The size of the window along each axis, including the holes of a dilation."""
        return tuple(
            (k - 1) * d + 1 for k, d in zip(self.layer.kernel_size, self._dilations, strict=True)
        )

    def _padding_before(self, sizes: Sequence[int], outputs: Sequence[int]) -> tuple[int, ...]:
        """Return the number of zeros before the first element along each axis.

        With "same" padding, the larger half comes after the last element, as in TensorFlow.
        """
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
        """Return the input window of each output position, with zeros outside of the input.

        The shape of the result is (rows, *kernel_size, channels).
        """
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
    """The transposed convolutions: windows on an input with holes between its elements.

    y[o] = Σ u[i]·K[k] over the pairs with i·stride + k·dilation − pad = o.
    """

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
    """The separable convolutions, whose outputs are bilinear in the two kernels.

    The pointwise kernel is the unknown; the depthwise kernel is part of the rows.
    """

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
    return (int(value),) * rank if isinstance(value, int) else tuple(map(int, value))


def _gather(
    inputs: Array, sample: Array, indices: Sequence[Array], inside: Sequence[Array]
) -> Array:
    """Return `inputs[sample, i₀, i₁, …]` for every combination of the axes' indices (rows, taps).

    Entries for which an index is not `inside` are zero.
    """
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
