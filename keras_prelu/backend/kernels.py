"""How PReLU's elementary pieces are written on each backend: the same values everywhere, in the
form that its compiler runs best.

`tools/bench/FINDINGS.md` says what lost, and by how much. Outputs agree on infinities and NaN.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
from keras import ops

from keras_prelu.typing import Tensor

_HALF_PRECISION = ("float16", "bfloat16")


class Formulation:
    """The pieces in `keras.ops`, as JAX's compiler runs them best; a backend overrides what it runs
    better in another form."""

    def cluster(self, x: Tensor) -> AbstractContextManager[Any]:
        """A context in which operations on tensors like `x` should be compiled into one kernel."""
        return nullcontext()

    def any_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        """PReLU for every real slope."""
        # max + α·min rather than a select on x > 0: at α = 0 a select gives −0 for negative x, this
        # gives ReLU's +0. Not x + (α − 1)·min(x, 0), which is faster and loses small slopes to
        # rounding: at α = 1e-8 it is 0 for x < 0.
        zero = ops.cast(0.0, x.dtype)
        return ops.maximum(x, zero) + alpha * ops.minimum(x, zero)

    def positive_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        """PReLU for α > 0; the sign of a zero is free."""
        return self.any_slope(x, alpha)

    def slope_to_one(self, x: Tensor, alpha: Tensor) -> Tensor:
        """PReLU for 0 < α ≤ 1."""
        # Without a constant. Every layer's 0 is one and the same to XLA, which may write it out as
        # a tensor that layers share and then can't fuse activations into convolutions: a network
        # with average pooling runs 1.2 instead of 1.6 times as long as with ReLU in inference on
        # JAX. With max pooling, and on the other backends, there is no difference.
        return ops.maximum(x, alpha * x)

    def at_least(self, x: Tensor, minimum: float) -> Tensor:
        """Return max(x, minimum)."""
        return ops.maximum(x, minimum)

    def input_gradient(self, sign: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        """∂L/∂x, from a tensor with the sign of x."""
        return ops.where(sign > 0, upstream, alpha * upstream)

    def slope_gradient(self, values: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        """Σ upstream·min(values, 0) over the positions that share a slope, in the shape of `alpha`,
        at least in float32."""
        # A sum over thousands of positions in half precision loses most of its digits.
        dtype = _accumulator(alpha)
        # α − α is a zero that XLA can't know to be constant. It writes a constant 0 out as a tensor
        # as large as `values` (twice the time on JAX, and the memory). min(values, 0), not values
        # where they are negative: +∞ gives 0, not 0·∞.
        zero = ops.cast(alpha - alpha, values.dtype)
        products = ops.cast(upstream, dtype) * ops.cast(ops.minimum(values, zero), dtype)
        return self._sum_to_slopes(products, alpha)

    def _sum_to_slopes(self, products: Tensor, alpha: Tensor) -> Tensor:
        return sum_to_shape(products, alpha.shape)


class TensorFlow(Formulation):
    """In a graph, one compiled kernel instead of four to seven; and a sum over positions that XLA
    runs in parallel."""

    # Below this many elements a sample, a cluster's start and its compilation cost more than it
    # saves.
    _worth_a_cluster = 8192
    # Partial sums: enough to shrink the data, few enough for XLA to keep the products in registers.
    _most_parts = 16

    def cluster(self, x: Tensor) -> AbstractContextManager[Any]:
        import tensorflow as tf

        size = x.shape[1:].num_elements() if x.shape.rank else None
        if tf.executing_eagerly() or size is None or size < self._worth_a_cluster:
            return nullcontext()
        # A hint, not tf.function(jit_compile=True): exporters and runtimes without XLA see ordinary
        # operations, a graph that meets many shapes goes on without compiling, and it is as fast.
        return tf.xla.experimental.jit_scope(separate_compiled_gradients=False)

    def _sum_to_slopes(self, products: Tensor, alpha: Tensor) -> Tensor:
        parts = self._parts(products, alpha)
        if parts == 1:
            return super()._sum_to_slopes(products, alpha)
        # XLA does not fuse the products into one long sum and runs that on one core. A sum over a
        # few parts it does: less than half the time. Adding α − α, a zero that it can't know, keeps
        # it from joining the two sums again. Slower: a product with a matrix of ones, which writes
        # the products out and meets a bad kernel at some sizes; BiasAddGrad; einsum.
        slopes = ops.reshape(alpha, (-1,))
        partial = ops.sum(ops.reshape(products, (parts, -1, slopes.shape[0])), axis=0)
        return ops.reshape(
            ops.sum(partial + ops.cast(slopes - slopes, partial.dtype), axis=0), alpha.shape
        )

    def _parts(self, products: Tensor, alpha: Tensor) -> int:
        """Into how many equal parts the positions of each sample divide; 1 where slopes differ by
        more than the last axis."""
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
    """Eager PyTorch runs one kernel and fills one tensor for each operation: few operations, and
    its own prelu where it fits."""

    def any_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        import torch

        return torch.addcmul(torch.relu(x), torch.clamp(x, max=0), alpha)

    def positive_slope(self, x: Tensor, alpha: Tensor) -> Tensor:
        import torch

        channel_wise = alpha.ndim > 0 and alpha.shape[-1] == alpha.numel() and x.ndim > 1
        if not channel_wise:
            return self.any_slope(x, alpha)
        # prelu wants the channels on axis 1; a view does, nothing is copied.
        return torch.nn.functional.prelu(x.movedim(-1, 1), alpha.reshape(-1)).movedim(1, -1)

    def at_least(self, x: Tensor, minimum: float) -> Tensor:
        import torch

        # Keras would make a tensor of the number on the device, and the host wait for the copy.
        return torch.clamp(x, min=minimum)

    def slope_to_one(self, x: Tensor, alpha: Tensor) -> Tensor:
        return self.positive_slope(x, alpha)

    def input_gradient(self, sign: Tensor, upstream: Tensor, alpha: Tensor) -> Tensor:
        import torch

        # ReLU's gradient p, then p + α·(upstream − p): a third of the time of a select. Where
        # upstream is infinite it gives NaN.
        passed = torch.ops.aten.threshold_backward(upstream, sign, 0)
        return torch.lerp(passed, upstream, alpha)


_COMMON = Formulation()
_OF_BACKEND = {"tensorflow": TensorFlow(), "torch": PyTorch()}


def formulation() -> Formulation:
    """The active backend's."""
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
