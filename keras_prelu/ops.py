"""The PReLU function: its forward pass and its hand-written backward pass (claim 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu.backend.autodiff import with_gradient
from keras_prelu.backend.kernels import formulation, sum_to_shape
from keras_prelu.registration import serializable
from keras_prelu.typing import Tensor

__all__ = ["PReLUOperation", "capped", "positive_prelu", "prelu", "prelu_to_one"]


_SMALLEST = float(np.finfo(np.float32).tiny)


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """Return the parametric ReLU: `x` where it is positive, `alpha * x` where it is not.

    φ(x) = max(x, 0) + α·min(x, 0), with ∂φ/∂x = 1 for x > 0 and α for x ≤ 0, and ∂φ/∂α = min(x, 0).
    At α = 0 the result equals `keras.ops.relu(x)` bit for bit on finite x. NaN propagates.
    Infinities follow IEEE arithmetic: −∞ at α = 0 is 0·∞ = NaN.

    Args:
        x: Tensor of a floating dtype, of any shape. Other dtypes are cast to
            `keras.config.floatx()`.
        alpha: Float or tensor. The negative slope, any real value. A tensor broadcasts against `x`
            by NumPy's rules. It may have a wider dtype than `x` (float32 slopes in a
            mixed-precision model), and its gradient then has that dtype.

    Returns:
        Tensor of the dtype of `x` and of the broadcast shape.

    Example:

    >>> keras_prelu.prelu(keras.ops.array([-2.0, 0.0, 3.0]), 0.25)   # [-0.5, 0.0, 3.0]

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852. Claim 1.
    """
    if keras.utils.is_keras_tensor(x) or keras.utils.is_keras_tensor(alpha):
        return PReLUOperation()(x, alpha)
    return keeping_the_input()(*_floating(x, alpha))


def _floating(x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x` and `alpha` as floating tensors; a number as `alpha` takes the dtype of `x`."""
    x = ops.convert_to_tensor(x)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
        x = ops.cast(x, keras.config.floatx())
    alpha = ops.convert_to_tensor(alpha, dtype=x.dtype if isinstance(alpha, (int, float)) else None)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(alpha.dtype)):
        alpha = ops.cast(alpha, x.dtype)
    return x, alpha


@serializable()
class PReLUOperation(keras.Operation):
    """`prelu` as a node of a functional graph, created by calling `prelu` on symbolic tensors."""

    def call(self, x: Tensor, alpha: Tensor) -> Tensor:
        return prelu(x, alpha)

    def compute_output_spec(self, x: Any, alpha: Any) -> keras.KerasTensor:
        shape = _broadcast_shapes(tuple(x.shape), tuple(getattr(alpha, "shape", ())))
        return keras.KerasTensor(shape, dtype=x.dtype)


def _broadcast_shapes(
    first: tuple[int | None, ...], second: tuple[int | None, ...]
) -> tuple[int | None, ...]:
    """Broadcast shapes by NumPy's rule, where `None` is an unknown size."""
    rank = max(len(first), len(second))
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in (first, second)]
    return tuple(b if a == 1 else a for a, b in zip(*padded, strict=True))


def positive_prelu(x: Tensor, alpha: Tensor, max_value: float | None = None) -> Tensor:
    """Return `prelu` for positive slopes, with a backward pass that needs only the output.

    If α > 0, the output has the sign of x, and x = y/α on the negative side, so
    ∂L/∂α = Σ g·min(y, 0)/α needs only y, which the next layer keeps anyway; x is freed. (In-place
    ABN, arXiv:1712.02616, relies on the same fact.) Under α = e^β the division cancels:
    ∂L/∂β = Σ g·min(y, 0). If a slope is so small that y underflows to 0 (α < 1e-38 in float32 and
    bfloat16; in float16 α = 1e-8, where the smallest number is 6e-8), ∂L/∂x is still exact, and the
    terms that underflow are missing from ∂L/∂α.

    Args:
        x: Tensor of a floating dtype, of any shape.
        alpha: Tensor. Slopes, all > 0, that broadcast to the shape of `x`. With slopes ≤ 0 the
            gradients are wrong: use `prelu`.
        max_value: Float > 0 or None. A cap on the output; where it is reached, gradients are 0.
            Defaults to None.

    Returns:
        Tensor of the dtype and shape of `x`: min(φ(x), max_value).

    Example:

    # [-0.5, 3.0]
    >>> keras_prelu.ops.positive_prelu(keras.ops.array([-2.0, 3.0]), keras.ops.array([0.25]))

    References:
        Claims 1 and 5.
    """
    return keeping_the_output("positive_slope", max_value)(*_floating(x, alpha))


def prelu_to_one(x: Tensor, alpha: Tensor, max_value: float | None = None) -> Tensor:
    """Return `positive_prelu` for slopes in (0, 1].

    For such slopes φ(x) = max(x, αx), which XLA can fuse in more networks. The arguments are those
    of `positive_prelu`.
    """
    return keeping_the_output("slope_to_one", max_value)(*_floating(x, alpha))


def capped(y: Tensor, max_value: float | None) -> Tensor:
    """Return min(y, max_value) in the dtype of `y`.

    Args:
        y: Tensor of a floating dtype.
        max_value: Float or None. The cap; None for no cap.
    """
    return y if max_value is None else ops.minimum(y, ops.cast(max_value, y.dtype))


# A dictionary instead of functools.cache: torch.compile traces through the cache, and can't trace
# the creation of an operation.
_OPERATIONS: dict[tuple[str, float | None], Callable[..., Tensor]] = {}


def keeping_the_input() -> Callable[..., Tensor]:
    """Return the operation behind `prelu`, on tensors of floating dtypes."""
    return _operation("any_slope", None)


def keeping_the_output(form: str, max_value: float | None) -> Callable[..., Tensor]:
    """Return the operation behind `positive_prelu` and `prelu_to_one`.

    For torch.compile, call this function beforehand, outside of compiled code.

    Args:
        form: String. The method of `Formulation` that computes the forward pass.
        max_value: Float or None. As in `positive_prelu`.
    """
    return _operation(form, max_value)


def _operation(form: str, max_value: float | None) -> Callable[..., Tensor]:
    # The test uses `in`, since older torch.compile can't evaluate the truth value of an operation.
    if (form, max_value) not in _OPERATIONS:
        _OPERATIONS[form, max_value] = (
            _from_the_input() if form == "any_slope" else _from_the_output(form, max_value)
        )
    return _OPERATIONS[form, max_value]


# The functions below call `formulation()` each time they run: torch.compile can't trace an object
# that a function holds in its closure.


def _from_the_input() -> Callable[..., Tensor]:
    def forward(x: Tensor, alpha: Tensor) -> Tensor:
        with formulation().cluster(x):
            return formulation().any_slope(x, ops.cast(alpha, x.dtype))

    def residuals(inputs: tuple[Tensor, ...], output: Tensor) -> tuple[Tensor, ...]:
        return inputs

    def backward(saved: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, Tensor]:
        x, alpha = saved
        with formulation().cluster(x):
            dx = formulation().input_gradient(x, upstream, ops.cast(alpha, x.dtype))
            dalpha = formulation().slope_gradient(x, upstream, alpha)
            return sum_to_shape(dx, x.shape), ops.cast(dalpha, alpha.dtype)

    return with_gradient(forward, residuals, backward)


def _from_the_output(form: str, max_value: float | None) -> Callable[..., Tensor]:
    def forward(x: Tensor, alpha: Tensor) -> Tensor:
        with formulation().cluster(x):
            y = getattr(formulation(), form)(x, ops.cast(alpha, x.dtype))
            return capped(y, max_value)

    def residuals(inputs: tuple[Tensor, ...], output: Tensor) -> tuple[Tensor, ...]:
        return output, inputs[1]

    def backward(saved: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, Tensor]:
        y, alpha = saved
        with formulation().cluster(y):
            dx = formulation().input_gradient(y, upstream, ops.cast(alpha, y.dtype))
            if max_value is not None:
                dx = ops.where(y < ops.cast(max_value, y.dtype), dx, ops.zeros_like(dx))
            total = formulation().slope_gradient(y, upstream, alpha)
            # A slope that underflowed to 0 has total 0, so its gradient is 0 instead of 0/0.
            return dx, ops.cast(
                total / formulation().at_least(ops.cast(alpha, total.dtype), _SMALLEST), alpha.dtype
            )

    return with_gradient(forward, residuals, backward)
