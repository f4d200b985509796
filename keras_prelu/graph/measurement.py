"""Measuring which rectifier a function computes, from its values at chosen numbers.

A function of the user's may be called anything and be written in any way, and functions of one name
differ between libraries: `leaky_relu` has slope 0.2 in Keras, TensorFlow and 0.01 in PyTorch, JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from keras_prelu.graph.function_values import reads_variables, values_of
from keras_prelu.utils.rounding import EPSILONS

__all__ = ["Measurement", "compute_the_same", "measure"]

_SIZES = (
    *(1e-4, 1e-2, 0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 8.0, 12.0, 30.0),
    *(1e2, 1e3, 1e4),
)
# float16 ends at 65504.
_HUGE = {"float32": (1e6, 1e10), "bfloat16": (1e6, 1e10), "float16": (6e4,)}
_ROUNDINGS = 8
"""Roundings that a formula for a rectifier may consist of."""
_REFINEMENTS = 4
_ATTEMPTS = (
    ("float32", 2),
    ("float32", 4),
    ("float32", 3),
    ("float32", 5),
    ("float32", 1),
    ("float16", 2),
    ("bfloat16", 2),
)
"""Dtypes and ranks of the tensors that a function is tried with, until it takes one."""

Evaluate = Callable[[np.ndarray], "np.ndarray | None"]


@dataclass(frozen=True)
class Measurement:
    """The parameters of a rectifier.

    It computes min(x, max_value) above the threshold, and negative_slope·(x - threshold) below.

    Attributes:
        negative_slope: Float.
        max_value: Float or None.
        threshold: Float.
    """

    negative_slope: float
    max_value: float | None
    threshold: float

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return what the rectifier computes for an array."""
        top = np.inf if self.max_value is None else self.max_value
        below = self.negative_slope * (points - self.threshold)
        return np.where(points < self.threshold, below, np.minimum(points, top))


def measure(function: Any) -> Measurement | None:
    """Return the rectifier that a function computes, or None.

    The function is called on a few numbers, in several ranks. It is a rectifier if each element of
    its outputs depends only on the same element of its inputs, as a rectifier's does, up to
    rounding. A function that fails on all of them, or that refers to variables, is None.

    Args:
        function: Callable that takes one tensor.
    """
    if reads_variables(function):
        return None
    for dtype, rank in _ATTEMPTS:
        points = _points(dtype)
        grid = _grid(points, rank)
        outputs = values_of(function, grid, dtype)
        if outputs is not None:
            break
    else:
        return None
    if not outputs.size:
        return None
    found = _fit(_rounded(points, dtype), _by_point(grid, outputs, points), dtype)
    if found is None:
        return None
    evaluate = partial(values_of, function, dtype=dtype)
    if found.threshold:
        return _with_exact_threshold(found, evaluate)
    others = _other_points(found, dtype)
    for other_rank in dict.fromkeys((4, rank)):
        inputs = _grid(others, other_rank)
        outputs = evaluate(inputs)
        if outputs is not None:
            agrees = outputs.size and _agree(found, _rounded(inputs, dtype), outputs, dtype)
            return found if agrees else None
    return None


def compute_the_same(first: Any, second: Any) -> bool | None:
    """Return whether two functions have the same values, or None if that can't be measured.

    It can't for functions that fail, or that return other values each time.
    """
    for dtype, rank in _ATTEMPTS:
        grid = _grid(_points(dtype), rank)
        values, others = (values_of(function, grid, dtype) for function in (first, second))
        if values is None and others is None:
            continue
        if values is not None and others is not None and not values.size + others.size:
            return None
        if _are_equal(values, others):
            return True
        return False if _are_equal(values, values_of(first, grid, dtype)) else None
    return None


def _are_equal(values: np.ndarray | None, others: np.ndarray | None) -> bool:
    if values is None or others is None or values.shape != others.shape:
        return values is others
    return bool(np.allclose(values, others, rtol=1e-6, atol=0.0, equal_nan=True))


def _points(dtype: str) -> np.ndarray:
    sizes = np.array([*_SIZES, *_HUGE[dtype]])
    return np.concatenate([-sizes[::-1], [0.0], sizes])


def _other_points(found: Measurement, dtype: str) -> np.ndarray:
    """Return points that `_points` doesn't have, among them some beside the bends."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-5.0, np.log10(_HUGE[dtype][-1]), size=12)
    bends = [] if found.max_value is None else [found.max_value * (1 + d) for d in (-0.02, 0.02)]
    return np.concatenate([-sizes, sizes[::2] * 0.9, bends])


def _grid(points: np.ndarray, rank: int) -> np.ndarray:
    """Return an array in which each channel, and each sample, has each of the points once.

    A function that combines channels, samples or positions then has other values than one that
    computes each element by itself.
    """
    count = len(points)
    shape = (count, *[3] * (rank - 2), count)[-rank:] if rank > 1 else (count,)
    indices = sum(
        factor * index for factor, index in zip((1, 1, 5, 7, 11), np.indices(shape), strict=False)
    )
    return points[np.asarray(indices) % count]


def _by_point(grid: np.ndarray, outputs: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Return the output for each point, or None if it depends on more than that point."""
    order = np.argsort(grid, axis=None, kind="stable")
    groups = outputs.ravel()[order].reshape(len(points), -1)  # The points are in ascending order.
    return None if np.ptp(groups, axis=1).any() else groups[:, 0]


def _rounded(points: np.ndarray, dtype: str) -> np.ndarray:
    """Return the numbers of a dtype that are next to the points."""
    mantissa, exponent = np.frexp(points)
    return np.ldexp(np.round(mantissa / EPSILONS[dtype] * 2) * EPSILONS[dtype] / 2, exponent)


def _agree(found: Measurement, points: np.ndarray, outputs: np.ndarray, dtype: str) -> bool:
    """Return whether outputs are a rectifier's, up to rounding.

    A threshold itself belongs to either side.
    """
    sizes = np.maximum(np.abs(points), abs(found.threshold))
    tolerance = np.where(points == (found.threshold or np.nan), np.inf, sizes)
    tolerance = tolerance * _ROUNDINGS * EPSILONS[dtype]
    return bool(np.all(np.abs(outputs - found.values(points)) <= tolerance))


def _fit(points: np.ndarray, outputs: np.ndarray | None, dtype: str) -> Measurement | None:
    """Return the rectifier through the outputs at the points, or None."""
    if outputs is None or not np.isfinite(outputs).all():
        return None
    cap = None if outputs[-1] == points[-1] else _shortest(outputs[-1], dtype)
    if cap is not None and cap <= 0:
        return None
    # Between large numbers, where no threshold matters.
    (x0, x1), (y0, y1) = points[:2], outputs[:2]
    unit = int(np.searchsorted(points, -0.99)) - 1  # The index of -1.
    candidates = [(_shortest(-outputs[unit], dtype), 0.0)]
    slope = _shortest((y1 - y0) / (x1 - x0), dtype)
    if slope:
        low = int(np.searchsorted(points, -99.0)) - 1
        threshold = float(f"{points[low] - outputs[low] / slope:.4g}")
        candidates.append((slope, threshold))
    else:
        identical = np.flatnonzero((outputs == points) & (points != 0))
        if identical.size:
            candidates.append((0.0, float(points[identical[0]])))
    for slope, threshold in candidates:
        found = Measurement(slope, cap, threshold)
        if slope >= 0 and slope != 1 and _agree(found, points, outputs, dtype):
            return found
    return None


def _with_exact_threshold(found: Measurement, evaluate: Evaluate) -> Measurement | None:
    """Return a rectifier with its threshold, of which two points are known between which it is."""
    if found.negative_slope:
        return found
    points = _points("float32")
    high = found.threshold
    low = float(points[points < high][-1])
    for _ in range(_REFINEMENTS):
        between = np.linspace(low, high, len(points))
        outputs = evaluate(between[:, None])
        if outputs is None or not outputs.size or outputs[-1] != np.float32(high):
            return None
        last_below = int(np.flatnonzero(outputs[:, 0] == 0)[-1]) if (outputs == 0).any() else 0
        low, high = between[last_below], between[min(last_below + 1, len(between) - 1)]
    return Measurement(0.0, found.max_value, float(f"{high:.4g}"))


def _shortest(value: float, dtype: str) -> float:
    """Return the shortest decimal that is equal to a value in a dtype."""
    for digits in range(1, 10):
        decimal = float(f"{value:.{digits}g}")
        if abs(decimal - value) <= 0.5 * EPSILONS[dtype] * abs(value):
            return decimal + 0.0  # No negative zero.
    return float(value)
