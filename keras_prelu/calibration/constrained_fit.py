"""Fits of layers whose weights have constraints (`kernel_constraint="non_neg"` and the like).

Keras applies the constraint of a weight after each training step. A refit that violated it would be
undone by the first step, and a monotone network would no longer be monotone. The solution of the
least-squares problem is therefore projected, improved by projected gradient descent, and judged on
held-out rows like any other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_prelu.calibration.ridge import Solution
from keras_prelu.calibration.streamed_ridge import Problem
from keras_prelu.typing import FloatArray

__all__ = ["constrained_solution"]

Projection = Callable[[FloatArray], FloatArray | None]
"""Returns the change of the weights nearest to a given one that the constraints allow, or None."""

_SHARES = (1.0, 0.5, 0.25, 0.125)
"""The shares of the unconstrained change to start from."""
_STEPS = 60
_POWER_STEPS = 12
"""The steps of the power iteration that finds the largest curvature."""
_WORTHWHILE = 0.999
"""The descent ends where the error no longer falls below this share of the one before."""


def constrained_solution(
    problem: Problem, solution: Solution, project: Projection
) -> Solution | None:
    """Return a solution within constraints; None if the constraints allow none.

    Args:
        problem: `RidgeProblem` or `StreamedRidgeProblem`.
        solution: `Solution`. The solution without constraints.
        project: Function that projects a change of the weights.
    """
    starts = [project(share * solution.change) for share in _SHARES]
    feasible = [change for change in starts if change is not None]
    if not feasible:
        return None
    errors = [problem.error(change) for change in feasible]
    best = Solution(
        ridge=solution.ridge,
        change=feasible[int(np.argmin(errors))],
        error=float(np.min(errors)),
    )
    return _descend(problem, best, project)


def _descend(problem: Problem, start: Solution, project: Projection) -> Solution:
    """Return the best solution on a path of projected gradient descent with momentum."""
    curvature = _largest_curvature(problem, start.change)
    best, change, momentum, previous = start, start.change, start.change, start.error
    for step in range(1, _STEPS + 1):
        following = project(momentum - problem.gradient(momentum) / curvature)
        if following is None:
            break
        momentum = following + (step - 1.0) / (step + 2.0) * (following - change)
        change = following
        if step % 10:
            continue
        error = problem.error(change)
        if error < best.error:
            best = Solution(ridge=start.ridge, change=change, error=error)
        if not error < _WORTHWHILE * previous:
            break
        previous = error
    return best


def _largest_curvature(problem: Problem, shape_of: FloatArray) -> FloatArray:
    """Return an upper estimate of the largest eigenvalue of each group's Gram matrix.

    The shape of the result is (groups, 1, 1).
    """
    rng = np.random.default_rng(0)
    zero = problem.gradient(np.zeros_like(shape_of))
    vector = rng.normal(size=shape_of.shape)
    norm = np.ones((len(vector), 1, 1))
    for _ in range(_POWER_STEPS):
        vector = problem.gradient(vector) - zero
        norm = np.sqrt(np.sum(np.square(vector), axis=(1, 2), keepdims=True))
        vector = vector / np.where(norm > 0, norm, 1.0)
    # The estimate is from below, and a step that is too long diverges.
    return np.where(norm > 0, 1.5 * norm, 1.0)
