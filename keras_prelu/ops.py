"""The PReLU function: forward, and its hand-written backward (claim 1)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_prelu._backends import with_gradient
from keras_prelu.registration import serializable

__all__ = ["PReLUOperation", "prelu"]

Tensor = Any

_HALF_PRECISION = ("float16", "bfloat16")


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """Parametric ReLU: `x` where it is positive, `alpha * x` where it is not.

    φ(x) = max(x, 0) + α·min(x, 0), with ∂φ/∂x = 1 for x > 0 and α for x ≤ 0, and ∂φ/∂α = min(x, 0). At α = 0 the result equals
    `keras.ops.relu(x)` bit for bit on finite x. NaN propagates. Infinities follow IEEE arithmetic: −∞ at α = 0 is 0·∞ = NaN.

    Args:
        x: Tensor of floating dtype (other dtypes are cast to `keras.config.floatx()`), of any shape.
        alpha: Negative slope: a number, or a tensor that broadcasts against `x` by NumPy's rules. Any real value; it may have a
            wider dtype than `x` (float32 slopes in a mixed-precision model), and its gradient then has that dtype.

    Returns:
        Tensor of the dtype of `x` and of the broadcast shape.

    Example:

    >>> keras_prelu.prelu(keras.ops.array([-2.0, 0.0, 3.0]), 0.25)   # [-0.5, 0.0, 3.0]

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852. Claim 1.
    """
    if keras.utils.is_keras_tensor(x) or keras.utils.is_keras_tensor(alpha):
        return PReLUOperation()(x, alpha)
    x = ops.convert_to_tensor(x)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
        x = ops.cast(x, keras.config.floatx())
    alpha = ops.convert_to_tensor(alpha, dtype=x.dtype if isinstance(alpha, (int, float)) else None)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(alpha.dtype)):
        alpha = ops.cast(alpha, x.dtype)
    return with_gradient(_forward, _residuals, _backward)(x, alpha)


@serializable()
class PReLUOperation(keras.Operation):
    """`prelu` as a node of a functional graph: what calling `prelu` on symbolic tensors creates."""

    def call(self, x: Tensor, alpha: Tensor) -> Tensor:
        return prelu(x, alpha)

    def compute_output_spec(self, x: Any, alpha: Any) -> keras.KerasTensor:
        shape = _broadcast_shapes(tuple(x.shape), tuple(getattr(alpha, "shape", ())))
        return keras.KerasTensor(shape, dtype=x.dtype)


def _broadcast_shapes(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """NumPy's broadcasting rule for shapes in which `None` is an unknown size."""
    rank = max(len(first), len(second))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (first, second)]
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))


def _forward(x: Tensor, alpha: Tensor) -> Tensor:
    # max + α·min rather than a select on x > 0: at α = 0 a select gives −0 for negative x, this gives ReLU's +0.
    zero = ops.cast(0.0, x.dtype)
    return ops.maximum(x, zero) + ops.cast(alpha, x.dtype) * ops.minimum(x, zero)


def _residuals(inputs: tuple[Tensor, ...], output: Tensor) -> tuple[Tensor, ...]:
    return inputs


def _backward(residuals: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, Tensor]:
    x, alpha = residuals
    dx = ops.where(x > 0, upstream, ops.cast(alpha, x.dtype) * upstream)
    # A sum over thousands of positions in half precision loses most of its digits, so it is taken in float32.
    dtype = keras.backend.standardize_dtype(alpha.dtype)
    accumulator = "float32" if dtype in _HALF_PRECISION else dtype
    # min(x, 0), not x where x ≤ 0: at x = +∞ a product with a masked gradient would be 0·∞.
    dalpha = ops.cast(upstream, accumulator) * ops.cast(ops.minimum(x, ops.cast(0.0, x.dtype)), accumulator)
    return _sum_to_shape(dx, x.shape), ops.cast(_sum_to_shape(dalpha, alpha.shape), dtype)


def _sum_to_shape(gradient: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """Sum a gradient over the axes along which an operand of `shape` was broadcast."""
    extra = len(gradient.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(extra + i for i, size in enumerate(shape) if size == 1 and gradient.shape[extra + i] != 1)
    if not axes:
        return gradient
    summed = ops.sum(gradient, axis=axes, keepdims=True)
    return ops.squeeze(summed, axis=tuple(range(extra))) if extra else summed
