"""PReLU's elementary operations on each backend.

The values are the same everywhere; the form is the one that the backend's compiler runs best.

`tools/bench/FINDINGS.md` lists the slower forms, and by how much they are slower. Outputs agree on
infinities and NaN.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
from keras import ops

from keras_prelu.typing import Tensor

_HALF_PRECISION = ("float16", "bfloat16")


class Formulation:
    """The operations in `keras.ops`, in the form that JAX's compiler runs best.

    A backend overrides the operations that it runs better in another form.
    """

    def cluster(self, x: Tensor) -> AbstractContextManager[Any]:
        """Return a context in which operations on tensors like `x` are compiled into one kernel.

        The context is a hint to the compiler.
        """
        return nullcontext()

    def any_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Return PReLU, for every real slope."""
        # One select would give −0 for negative x at α = 0, where ReLU and this sum give +0; XLA
        # drops a constant zero that is added.
        zero = ops.cast(0.0, x.dtype)
        return ops.where(x > 0, x, zero) + ops.where(x > 0, zero, alpha * x)

    def positive_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Return PReLU for α > 0; a zero may have either sign."""
        # max(x, 0) + α·min(x, 0) and, for α ≤ 1, max(x, α·x) have the same values, and XLA fuses
        # them worse into convolutions: it may write their constant 0, which all layers share, out
        # as a tensor.
        return ops.where(x > 0, x, alpha * x)

    def slope_to_one(self, x: Tensor, alpha: Tensor) -> Tensor:
        """Return PReLU for 0 < α ≤ 1."""
        return self.positive_slope(x, alpha)

    def at_least(self, x: Tensor, minimum: float) -> Tensor:
        """Return max(x, minimum)."""
        return ops.maximum(x, minimum)

    def input_gradient(self, sign: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        """Return ∂L/∂x, from a tensor with the sign of x."""
        return ops.where(sign > 0, upstream, alpha * upstream)

    def slope_gradient(self, values: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        """Return Σ upstream·min(values, 0) over the positions that share a slope.

        The result has the shape of `alpha`, in float32 or a wider dtype.
        """
        # A sum over thousands of positions in half precision loses most of its digits.
        dtype = _accumulator(alpha)
        # α − α is a zero that XLA can't know to be constant. XLA would write a constant 0 out as a
        # tensor as large as `values`, which doubles the time and the memory on JAX. The minimum,
        # unlike a product with a mask, gives 0 for +∞ and not 0·∞.
        zero = ops.cast(alpha - alpha, values.dtype)
        products = ops.cast(upstream, dtype) * ops.cast(ops.minimum(values, zero), dtype)
        return self._sum_to_slopes(products, alpha)

    def _sum_to_slopes(self, products: Tensor, alpha: Tensor) -> Tensor:
        return sum_to_shape(products, alpha.shape)


class TensorFlow(Formulation):
    """The operations in a graph, compiled into one kernel instead of four to seven.

    Sums over positions take a form that XLA runs in parallel.
    """

    # With fewer elements in a sample, starting and compiling a cluster costs more than it saves.
    _worth_a_cluster = 8192
    # Enough partial sums to shrink the data, and few enough that XLA keeps products in registers.
    _most_parts = 16

    def cluster(self, x: Tensor) -> AbstractContextManager[Any]:
        import tensorflow as tf

        size = x.shape[1:].num_elements() if x.shape.rank else None
        if tf.executing_eagerly() or size is None or size < self._worth_a_cluster:
            return nullcontext()
        # This is a hint, unlike tf.function(jit_compile=True), and as fast: exporters and runtimes
        # without XLA see ordinary operations, and a graph that is called with many shapes continues
        # without compiling.
        return tf.xla.experimental.jit_scope(separate_compiled_gradients=False)

    def any_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        # A select takes four kernels as well, and is no faster. And x + (α − 1)·min(x, 0), which is
        # faster, loses small slopes to rounding: at α = 1e-8 it is 0 for x < 0.
        zero = ops.cast(0.0, x.dtype)
        return ops.maximum(x, zero) + alpha * ops.minimum(x, zero)

    def positive_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        return self.any_slope(x, alpha)

    def slope_to_one(self, x: Tensor, alpha: Tensor) -> Tensor:
        return ops.maximum(x, alpha * x)

    def _sum_to_slopes(self, products: Tensor, alpha: Tensor) -> Tensor:
        parts = self._parts(products, alpha)
        if parts == 1:
            return super()._sum_to_slopes(products, alpha)
        # XLA does not fuse the products into one long sum, which it runs on one core. It does fuse
        # them into a sum over a few parts, in less than half the time. Adding α − α, a zero that
        # XLA can't know to be constant, prevents XLA from joining the two sums again. Slower
        # alternatives are a product with a matrix of ones, which writes the products out and uses a
        # bad kernel at some sizes, BiasAddGrad, and einsum.
        slopes = ops.reshape(alpha, (-1,))
        partial = ops.sum(ops.reshape(products, (parts, -1, slopes.shape[0])), axis=0)
        return ops.reshape(
            ops.sum(partial + ops.cast(slopes - slopes, partial.dtype), axis=0), alpha.shape
        )

    def _parts(self, products: Tensor, alpha: Tensor) -> int:
        """Return the number of equal parts into which the positions of each sample divide.

        It is 1 if slopes differ along more than the last axis.
        """
        positions = products.shape[1:-1].num_elements() if products.shape.rank > 2 else None
        channels = alpha.shape[-1] if alpha.shape.rank else None
        if (
            positions is None
            or channels is None
            or channels != products.shape[-1]
            or alpha.shape.num_elements() != channels
        ):
            return 1
        return max(parts for parts in range(1, self._most_parts + 1) if positions % parts == 0)


class PyTorch(Formulation):
    """As few operations as possible, and PyTorch's own prelu if it fits.

    Eager PyTorch runs one kernel, and fills one tensor, for each operation.
    """

    def any_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        import torch

        return torch.addcmul(torch.relu(x), torch.clamp(x, max=0), alpha)

    def positive_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        import torch

        channel_wise = alpha.ndim > 0 and alpha.shape[-1] == alpha.numel() and x.ndim > 1
        if not channel_wise:
            return self.any_slope(x, alpha)
        # PyTorch's prelu takes the channels on axis 1. A view is enough: nothing is copied.
        return torch.nn.functional.prelu(x.movedim(-1, 1), alpha.reshape(-1)).movedim(1, -1)

    def at_least(self, x: Tensor, minimum: float) -> Tensor:
        import torch

        # Keras would create a tensor of the number on the device, and the host would wait for the
        # copy.
        return torch.clamp(x, min=minimum)

    def slope_to_one(self, x: Tensor, alpha: Tensor) -> Tensor:
        return self.positive_slope(x, alpha)

    def input_gradient(self, sign: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        import torch

        # ReLU's gradient p, then p + α·(upstream − p), takes a third of the time of a select. It
        # gives NaN for an infinite upstream gradient.
        passed = torch.ops.aten.threshold_backward(upstream, sign, 0)
        return torch.lerp(passed, upstream, alpha)


_COMMON = Formulation()
_OF_BACKEND = {"tensorflow": TensorFlow(), "torch": PyTorch()}


def formulation() -> Formulation:
    """Return the operations of the active backend."""
    return _OF_BACKEND.get(keras.backend.backend(), _COMMON)


def sum_to_shape(gradient: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """Sum a gradient over the axes along which an operand of `shape` was broadcast."""
    extra = len(gradient.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, size in enumerate(shape) if size == 1 and gradient.shape[extra + i] != 1
    )
    if not axes:
        return gradient
    summed = ops.sum(gradient, axis=axes, keepdims=True)
    return ops.squeeze(summed, axis=tuple(range(extra))) if extra else summed


def _accumulator(alpha: Tensor) -> str:
    dtype = keras.backend.standardize_dtype(alpha.dtype)
    return "float32" if dtype in _HALF_PRECISION else dtype
