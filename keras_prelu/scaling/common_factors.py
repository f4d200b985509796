"""The factors of groups that bring the norms of layers to their targets, and how layers take them.

The kernel of a linear layer from group a to group b is multiplied by exp(s_b − s_a), where s is the
logarithm of a group's factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.typing import Array

__all__ = ["WantedFactor", "log_factors", "take_factors"]

_PREFERENCE = 1e4
"""How much rather a preferred group is scaled than another: its share is 1/_PREFERENCE² off."""


@dataclass(frozen=True, kw_only=True)
class WantedFactor:
    """The factor that a linear layer is to take.

    Attributes:
        read: Integer. The number of the group that the layer reads.
        written: Integer. The number of the group that it writes.
        logarithm: Float. The logarithm of the factor that its kernel is to be multiplied by.
    """

    read: int
    written: int
    logarithm: float


def log_factors(
    wanted: Sequence[WantedFactor], *, free: Sequence[bool], preferred: Sequence[bool]
) -> Array:
    """Return the logarithms s of the factors of groups by least squares.

    They minimize Σ (wanted − (s_written − s_read))² over layers. Among the minima, the one with the
    smallest factors is taken, where preferred groups count almost nothing.

    Args:
        wanted: Sequence of `WantedFactor`.
        free: Sequence of booleans. For each group whether it may be multiplied by a factor; s is 0
            otherwise.
        preferred: Sequence of booleans. For each group whether it is rather scaled than others,
            since less depends on its scale.
    """
    matrix = np.zeros((len(wanted), len(free)))
    for row, each in enumerate(wanted):
        matrix[row, each.written] += 1.0
        matrix[row, each.read] -= 1.0
    weights = np.where(free, np.where(preferred, _PREFERENCE, 1.0), 0.0)
    values = [each.logarithm for each in wanted]
    solution = np.linalg.lstsq(matrix * weights, values, rcond=None)[0]
    factors: Array = solution * weights
    return np.where(np.abs(factors) < _PREFERENCE**-1.5, 0.0, factors)


def take_factors(layer: Any, read: float, written: float) -> None:
    """Let the weights of a layer take up the factors of what it reads and of what it writes.

    A BatchNormalization gets the statistics that its input has then. Its ε is not scaled: γ takes
    up the difference, so that inference is exact, and training nearly so.

    Args:
        layer: BatchNormalization with γ, or a linear layer. It is modified in place.
        read: Float. Logarithm of the factor of its input.
        written: Float. Logarithm of the factor of its output.
    """
    if is_batch_normalization(layer):
        _take_into_normalization(layer, read, written)
        return
    view = linear_view(layer)
    assert view is not None
    _multiply(view.kernel, np.exp(written - read))
    if view.bias is not None:
        _multiply(view.bias, np.exp(written))


def _take_into_normalization(layer: Any, read: float, written: float) -> None:
    square, variance = np.exp(2.0 * read), to_float64(layer.moving_variance)
    scaled = variance * square
    kept = np.sqrt((scaled + layer.epsilon) / ((variance + layer.epsilon) * square))
    _multiply(layer.moving_mean, np.exp(read))
    _multiply(layer.moving_variance, square)
    _multiply(layer.gamma, kept * np.exp(written))
    if layer.center:
        _multiply(layer.beta, np.exp(written))


def _multiply(variable: Any, factor: Any) -> None:
    if np.any(factor != 1.0):
        variable.assign(to_float64(variable) * factor)
