"""Closed forms of claims 3 to 9, in NumPy alone; the rest of the package is tested against them.

Notation: x ~ N(μ, σ²) is a pre-activation, r = μ/σ, y = φ(x) = max(x, 0) + α·min(x, 0), and Φ and ϕ
are the cumulative distribution function and the density of the standard normal distribution.
Functions take floats or arrays, which broadcast, and return float64.

Example:

The γ that makes a BatchNormalization after PReLU the identity is the square root of the output's
variance:

>>> from keras_prelu import theory
>>> float(theory.output_variance(0.25, 0.0, 1.0)) ** 0.5
0.664...
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from keras_prelu.typing import FloatArray

__all__ = [
    "L2_FIXED_POINTS",
    "bn_gamma_identity",
    "bn_gamma_reconstruction",
    "derivative_mean",
    "derivative_relative_variance",
    "derivative_second_moment",
    "equalizing_scales",
    "he_variance",
    "input_output_covariance",
    "network_gain",
    "normal_cdf",
    "normal_pdf",
    "output_mean",
    "output_second_moment",
    "output_skewness",
    "output_third_moment",
    "output_variance",
    "path_gradient_factor",
    "relative_error",
    "restoring_factor",
    "second_moment_gain",
    "slope",
    "slope_derivative",
]

ArrayLike = npt.ArrayLike


def normal_cdf(r: ArrayLike) -> FloatArray:
    """Return Φ(r) = erfc(−r/√2)/2, accurate in both tails."""
    return np.asarray(
        np.vectorize(math.erfc, otypes=[np.float64])(-_array(r) / math.sqrt(2.0)) / 2.0
    )


def normal_pdf(r: ArrayLike) -> FloatArray:
    """Return ϕ(r) = exp(−r²/2)/√(2π)."""
    return np.exp(-0.5 * np.square(_array(r))) / math.sqrt(2.0 * math.pi)


def path_gradient_factor(alpha: ArrayLike, weight: ArrayLike, depth: int) -> FloatArray:
    """Return (αc)^L, by which a path of negative pre-activations scales the gradient (claim 3).

    The path goes through L layers of weight c whose pre-activations are all negative.
    """
    return np.power(_array(alpha) * _array(weight), depth)


def second_moment_gain(alpha: ArrayLike, weight_variance: ArrayLike, fan_in: int) -> FloatArray:
    """Return n_in·Var(W)·(1 + α²)/2, by which a layer scales the second moment (claim 4).

    The layer's inputs are distributed symmetrically about 0.
    """
    return fan_in * _array(weight_variance) * (1.0 + np.square(_array(alpha))) / 2.0


def he_variance(alpha: ArrayLike, fan: int) -> FloatArray:
    """Return Var(W) = 2/(n·(1 + α²)), for which the gain is 1 (claim 4)."""
    return 2.0 / (fan * (1.0 + np.square(_array(alpha))))


def network_gain(alpha: ArrayLike, depth: int) -> FloatArray:
    """Return (1 + α²)^L, the gain of L layers of slope α with He's variance 2/n (claim 4)."""
    return np.power(1.0 + np.square(_array(alpha)), depth)


_SLOPES: dict[
    str, tuple[Callable[[FloatArray], FloatArray], Callable[[FloatArray], FloatArray]]
] = {
    "exp": (np.exp, np.exp),
    "square": (np.square, lambda beta: 2.0 * beta),
    "softplus": (lambda beta: np.logaddexp(0.0, beta), lambda beta: 1.0 / (1.0 + np.exp(-beta))),
    "sigmoid": (
        lambda beta: 1.0 / (1.0 + np.exp(-beta)),
        lambda beta: np.exp(-beta) / np.square(1.0 + np.exp(-beta)),
    ),
    "identity": (lambda beta: beta, np.ones_like),
}

L2_FIXED_POINTS = {
    "exp": 1.0,
    "square": 0.0,
    "softplus": math.log(2.0),
    "sigmoid": 0.5,
    "identity": 0.0,
}
"""The slope α(0) that L2 on β pulls to, by the name of the parameterization (claim 5)."""


def slope(parameterization: str, beta: ArrayLike) -> FloatArray:
    """Return α(β): e^β, β², log(1 + e^β), σ(β) or β, by the parameterization (claim 5)."""
    return _SLOPES[parameterization][0](_array(beta))


def slope_derivative(parameterization: str, beta: ArrayLike) -> FloatArray:
    """Return dα/dβ: α, 2β, σ(β), α(1 − α) or 1, by the parameterization (claim 5)."""
    return _SLOPES[parameterization][1](_array(beta))


def equalizing_scales(producer_norms: ArrayLike, consumer_norms: ArrayLike) -> FloatArray:
    """Return s_c = √(‖consumer_c‖/‖producer_c‖), which makes a channel's norms equal (claim 6).

    The producer's channel c is scaled by s_c and the consumer's by 1/s_c. The function is
    unchanged, since φ(s·x) = s·φ(x) for s > 0.
    """
    return np.sqrt(_array(consumer_norms) / _array(producer_norms))


def output_mean(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return E[y] = E[x⁺] + αE[x⁻], with E[x⁺] = μΦ(r) + σϕ(r), E[x⁻] = μ − E[x⁺] (claim 7)."""
    positive = _positive_mean(mu, sigma)
    return positive + _array(alpha) * (_array(mu) - positive)


def output_second_moment(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return E[y²] = E[(x⁺)²] + α²E[(x⁻)²] (claim 7).

    E[(x⁺)²] = (μ² + σ²)Φ(r) + μσϕ(r), and E[(x⁻)²] = μ² + σ² − E[(x⁺)²].
    """
    positive = _positive_second_moment(mu, sigma)
    total = np.square(_array(mu)) + np.square(_array(sigma))
    return positive + np.square(_array(alpha)) * (total - positive)


def output_variance(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return Var[y] = E[y²] − E[y]² (claim 7).

    For μ = 0 the variance is σ²·[(1 + α²)/2 − (1 − α)²/(2π)].
    """
    return output_second_moment(alpha, mu, sigma) - np.square(output_mean(alpha, mu, sigma))


def output_third_moment(alpha: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return E[y³] = (1 − α³)·σ³·√(2/π), for μ = 0 (claim 7)."""
    return (
        (1.0 - np.power(_array(alpha), 3)) * np.power(_array(sigma), 3) * math.sqrt(2.0 / math.pi)
    )


def output_skewness(alpha: ArrayLike) -> FloatArray:
    """Return the skewness E[(y − E[y])³]/Var[y]^{3/2}, for μ = 0 (from the moments of claim 7).

    The skewness is 0 at α = 1 and largest at α = 0.
    """
    mean, second = output_mean(alpha, 0.0, 1.0), output_second_moment(alpha, 0.0, 1.0)
    central = output_third_moment(alpha, 1.0) - 3.0 * mean * second + 2.0 * np.power(mean, 3)
    return central / np.power(second - np.square(mean), 1.5)


def input_output_covariance(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return Cov(x, y) = σ²·(Φ(r) + αΦ(−r)), by Stein's lemma (claim 7)."""
    return np.square(_array(sigma)) * derivative_mean(alpha, mu, sigma)


def restoring_factor(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return a = Cov(x⁺, y)/Var[y], which restores ReLU's output best (claim 7).

    Of all affine maps a·y + b of y = φ(x), the one with this factor restores x⁺ best in least
    squares. Cov(x⁺, y) = E[(x⁺)²] − E[x⁺]·E[y], since x⁺·y = (x⁺)².
    """
    covariance = _positive_second_moment(mu, sigma) - _positive_mean(mu, sigma) * output_mean(
        alpha, mu, sigma
    )
    return covariance / output_variance(alpha, mu, sigma)


def derivative_mean(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return E[φ′] = Φ(r) + αΦ(−r) (claim 7)."""
    r = _array(mu) / _array(sigma)
    return normal_cdf(r) + _array(alpha) * normal_cdf(-r)


def derivative_second_moment(alpha: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return E[φ′²] = Φ(r) + α²Φ(−r) (claim 7)."""
    return derivative_mean(np.square(_array(alpha)), mu, sigma)


def bn_gamma_identity(alpha: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return γ = √Var[y], for which BatchNormalization after PReLU is the identity (claim 8).

    The form holds for μ = 0, and up to the shift by the mean of y.
    """
    return np.sqrt(output_variance(alpha, 0.0, sigma))


def bn_gamma_reconstruction(alpha: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """Return γ = Cov(x, y)/√Var[y], which best reconstructs x from BN(y) (claim 8).

    The reconstruction is best in least squares, for μ = 0.
    """
    return input_output_covariance(alpha, 0.0, sigma) / bn_gamma_identity(alpha, sigma)


def derivative_relative_variance(
    alpha: ArrayLike, mu: ArrayLike = 0.0, sigma: ArrayLike = 1.0
) -> FloatArray:
    """Return Var(φ′)/E[φ′]² = Φ(r)Φ(−r)(1 − α)²/(Φ(r) + αΦ(−r))² (claim 9).

    For μ = 0 it is ((1 − α)/(1 + α))².
    """
    r = _array(mu) / _array(sigma)
    return (
        normal_cdf(r)
        * normal_cdf(-r)
        * np.square(1.0 - _array(alpha))
        / np.square(derivative_mean(alpha, mu, sigma))
    )


def relative_error(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the mean squared difference of outputs from targets over the targets' variance.

    Args:
        outputs: Array-like of numbers, of any shape. The values to judge.
        targets: Array-like of numbers, of the same shape. The values that `outputs` should have.

    Returns:
        A float: 0 if the two are equal, 1 if `outputs` is no better than the targets' mean. For
        constant targets, whose variance is 0, the mean squared difference itself.

    Example:

    >>> keras_prelu.theory.relative_error([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    0.0
    """
    outputs, targets = np.asarray(outputs, np.float64), np.asarray(targets, np.float64)
    variance = float(np.var(targets))
    return float(np.mean(np.square(outputs - targets))) / (variance if variance > 0 else 1.0)


def _positive_mean(mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    mu, sigma = _array(mu), _array(sigma)
    return mu * normal_cdf(mu / sigma) + sigma * normal_pdf(mu / sigma)


def _positive_second_moment(mu: ArrayLike, sigma: ArrayLike) -> FloatArray:
    mu, sigma = _array(mu), _array(sigma)
    r = mu / sigma
    return (np.square(mu) + np.square(sigma)) * normal_cdf(r) + mu * sigma * normal_pdf(r)


def _array(value: ArrayLike) -> FloatArray:
    return np.asarray(value, dtype=np.float64)
