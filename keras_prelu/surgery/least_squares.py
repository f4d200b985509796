"""Ridge regression of a layer's weights, accumulated in chunks, judged on rows held out. NumPy and SciPy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

__all__ = ["RIDGES", "RidgeProblem", "Solution"]

Array = npt.NDArray[np.float64]

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths among which held-out rows choose, weak to strong."""
_FIRST = 3

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Solution:
    """A change of the weights, the strength that it was found with, and its error on held-out rows."""

    ridge: float
    change: Array
    error: float


class RidgeProblem:
    """Find Δ that minimizes ‖AΔ − R‖² + λ‖Δ‖², for each of several groups, in float64.

    A are the design rows, R what the current weights leave unexplained, so Δ is the change of the weights and the penalty keeps them
    where they are. Rows are accumulated into Gram matrices AᵀA; while there are fewer rows than unknowns they are also kept, for the
    dual system Δ = Aᵀ(AAᵀ + λI)⁻¹R, which is smaller.

    Args:
        unknowns: Columns of A.
        outputs: Columns of R.
        groups: Number of independent problems.
    """

    def __init__(self, unknowns: int, outputs: int, groups: int = 1) -> None:
        self.unknowns = unknowns
        self.rows = 0
        self._fit = _Moments(groups, unknowns, outputs)
        self._held = _Moments(groups, unknowns, outputs)
        self._chunks: list[tuple[Array, Array]] | None = []

    def add(self, rows: Array, residuals: Array, targets: Array, held_out: npt.NDArray[np.bool_]) -> None:
        """Add design rows (groups, n, unknowns), residuals and targets (groups, n, outputs); `held_out` (n,) marks rows to judge by."""
        self.rows += rows.shape[1]
        fit = ~held_out
        self._fit.add(rows[:, fit], residuals[:, fit], targets[:, fit])
        self._held.add(rows[:, held_out], residuals[:, held_out], targets[:, held_out])
        if self._chunks is not None:
            self._chunks.append((rows[:, fit], residuals[:, fit]))
            if self._fit.count >= self.unknowns:
                self._chunks = None

    def solve(self, ridge: float) -> Array:
        """Δ (groups, unknowns, outputs), with λ = `ridge` × the mean diagonal of the Gram matrix."""
        if self._chunks is not None:
            rows = np.concatenate([chunk[0] for chunk in self._chunks], axis=1)
            residuals = np.concatenate([chunk[1] for chunk in self._chunks], axis=1)
            return np.stack([_solve_dual(a, r, ridge) for a, r in zip(rows, residuals, strict=True)])
        return np.stack([_solve_primal(g, c, ridge) for g, c in zip(self._fit.gram, self._fit.cross, strict=True)])

    def best(self) -> Solution:
        """The solution with the least error on held-out rows, going from the middle of `RIDGES` as long as it gets better.

        A Cholesky factorization for each strength tried, three or four, costs less than one eigendecomposition for all of them.
        """
        best = self.solution(RIDGES[_FIRST])
        for direction in (-1, 1):
            found = best
            for ridge in RIDGES[_FIRST + direction :: direction]:
                candidate = self.solution(ridge)
                if not candidate.error < best.error:
                    break
                best = candidate
            if best is not found:
                break
        return best

    def solution(self, ridge: float) -> Solution:
        """The solution for one strength."""
        change = self.solve(ridge)
        return Solution(ridge, change, self.error(change))

    def error(self, change: Array | None) -> float:
        """Squared error with the weights changed by `change` (None: not at all) over the targets' variance, on held-out rows."""
        held = self._held
        squared = held.residual_square
        if change is not None:
            squared = squared - 2.0 * float(np.sum(change * held.cross)) + float(np.sum(change * (held.gram @ change)))
        return max(squared, 0.0) / held.scale


class _Moments:
    """AᵀA, AᵀR, Σ‖R‖² and the targets' variation about their mean."""

    def __init__(self, groups: int, unknowns: int, outputs: int) -> None:
        self.count = 0
        self.gram = np.zeros((groups, unknowns, unknowns))
        self.cross = np.zeros((groups, unknowns, outputs))
        self.residual_square = 0.0
        self._target_sum = np.zeros((groups, outputs))
        self._target_square = 0.0

    def add(self, rows: Array, residuals: Array, targets: Array) -> None:
        self.count += rows.shape[1]
        transposed = np.swapaxes(rows, 1, 2)
        self.gram += transposed @ rows
        self.cross += transposed @ residuals
        self.residual_square += float(np.sum(np.square(residuals)))
        self._target_sum += targets.sum(axis=1)
        self._target_square += float(np.sum(np.square(targets)))

    @property
    def scale(self) -> float:
        """The targets' variation about their mean; of targets that don't vary, as a single one doesn't, their square; else 1."""
        variation = self._target_square - float(np.sum(np.square(self._target_sum))) / max(self.count, 1)
        return variation if variation > _ROUNDING * self._target_square else self._target_square or 1.0


def _solve_primal(gram: Array, cross: Array, ridge: float) -> Array:
    regularized = gram + ridge * float(np.mean(np.diag(gram))) * np.eye(len(gram))
    return _solve_positive(regularized, cross)


def _solve_dual(rows: Array, residuals: Array, ridge: float) -> Array:
    kernel = rows @ rows.T
    penalty = ridge * float(np.trace(kernel)) / rows.shape[1]
    return rows.T @ _solve_positive(kernel + penalty * np.eye(len(kernel)), residuals)


def _solve_positive(matrix: Array, right: Array) -> Array:
    """By Cholesky; by least squares where rounding has made the matrix indefinite, or all inputs are zero."""
    try:
        return scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), right)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], dtype=np.float64)
