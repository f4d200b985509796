"""Ridge regression of the weights of a layer, accumulated in chunks and judged on held-out rows.

Layers too large for a Gram matrix are refitted by `streamed_ridge`, which stops early instead.

This module depends only on NumPy and SciPy.
"""

from __future__ import annotations

import contextlib
import functools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
from threadpoolctl import ThreadpoolController

from keras_prelu.calibration.gram_matrices import GramMatrices, product
from keras_prelu.calibration.host_exchange import Exchange
from keras_prelu.typing import Array, FloatArray

__all__ = ["RIDGES", "RidgeProblem", "RowBlock", "Solution"]


RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths to choose from on held-out rows, in ascending order."""
_FIRST_INDEX = 3

_UNKNOWNS_WORTH_THREADS = 1024
"""The number of unknowns from which several threads make a factorization faster.

With fewer unknowns, distributing the work costs more than the work itself.
"""


@dataclass(frozen=True)
class Solution:
    """The solution of a `RidgeProblem`.

    Attributes:
        ridge: Float. The strength of the penalty.
        change: Array (groups, unknowns, outputs). The change of the weights.
        error: Float. Squared error on held-out rows divided by the targets' variance.
    """

    ridge: float
    change: FloatArray
    error: float


@dataclass(frozen=True)
class RowBlock:
    """Some rows of a problem, in float32 or float64.

    Attributes:
        rows: Array (groups, n, unknowns). Design rows.
        residuals: Array (groups, n, outputs). Targets minus the output of the current weights.
        targets: Array (groups, n, outputs). The outputs to fit.
        held_out: Boolean array (n,). Marks the rows that judge instead of fitting.
    """

    rows: Array
    residuals: Array
    targets: Array
    held_out: npt.NDArray[np.bool_]


class RidgeProblem:
    """The problem to minimize ‖AΔ − R‖² + λ‖Δ‖² over Δ, for each of several groups.

    A are the design rows and R the residuals of the current weights, so Δ is the change of the
    weights and the penalty keeps them near their current values. Rows are accumulated into Gram
    matrices AᵀA. While there are fewer rows than unknowns, they are stored instead, for the dual
    system Δ = Aᵀ(AAᵀ + λI)⁻¹R, which is smaller.

    Args:
        unknowns: Integer. Columns of A.
        outputs: Integer. Columns of R.
        groups: Integer. Number of independent problems. Defaults to 1.

    Attributes:
        rows: Integer. Number of rows added so far.
    """

    def __init__(self, unknowns: int, outputs: int, groups: int = 1) -> None:
        self.unknowns = unknowns
        self.rows = 0
        self._fitting = GramMatrices(groups, unknowns, outputs)
        self._judging = GramMatrices(groups, unknowns, outputs)

    def add(self, block: RowBlock) -> None:
        """Add rows."""
        self.rows += block.rows.shape[1]
        for part, chosen in ((self._fitting, ~block.held_out), (self._judging, block.held_out)):
            part.add(block.rows[:, chosen], block.residuals[:, chosen], block.targets[:, chosen])

    def combine(self, exchange: Exchange) -> None:
        """Add the rows of all other hosts to this problem, on each host."""
        self.rows = int(exchange.gather(np.array(self.rows)).sum())
        for part in (self._fitting, self._judging):
            part.combine(exchange)

    def solve(self, ridge: float) -> FloatArray:
        """Return Δ (groups, unknowns, outputs) for one strength.

        λ is `ridge` times the mean diagonal of the Gram matrix.
        """
        return self._change(self._coefficients(ridge))

    def best(self) -> Solution:
        """Return the solution with the least error on held-out rows.

        The search starts in the middle of `RIDGES` and goes in the direction in which the error
        falls. The three or four Cholesky factorizations that this takes cost less than one
        eigendecomposition for all strengths.
        """
        with _one_thread() if self.unknowns < _UNKNOWNS_WORTH_THREADS else nullcontext():
            best = self._descend()
            return Solution(
                ridge=best.ridge, change=self._change(best.coefficients), error=best.error
            )

    def solution(self, ridge: float) -> Solution:
        """Return the solution for one strength."""
        change = self.solve(ridge)
        return Solution(ridge=ridge, change=change, error=self.error(change))

    def error(self, change: FloatArray | None) -> float:
        """Return the squared error on held-out rows divided by the targets' variance.

        The weights are changed by `change`, or unchanged if it is None.
        """
        squared_error = (
            self._judging.residual_square if change is None else self._judging.squared_error(change)
        )
        return squared_error / self._judging.targets.scale

    def gradient(self, change: FloatArray) -> FloatArray:
        """Return half the gradient of ‖AΔ − R‖² with respect to Δ, at a change of the weights."""
        return self._fitting.gradient(change)

    def _descend(self) -> _Candidate:
        first = best = self._candidate(RIDGES[_FIRST_INDEX])
        for direction in (-1, 1):
            for ridge in RIDGES[_FIRST_INDEX + direction :: direction]:
                candidate = self._candidate(ridge)
                if not candidate.error < best.error:
                    break
                best = candidate
            if best is not first:
                break
        return best

    def _candidate(self, ridge: float) -> _Candidate:
        coefficients = self._coefficients(ridge)
        if self._inner_products is None:
            error = self.error(self._change(coefficients))
        else:
            predicted = self._inner_products.judging @ coefficients
            residuals = self._judging.stored().residuals
            error = float(np.sum(np.square(predicted - residuals))) / self._judging.targets.scale
        return _Candidate(ridge=ridge, coefficients=coefficients, error=error)

    def _coefficients(self, ridge: float) -> FloatArray:
        """Return the solution of the smaller system.

        It is Δ itself in the primal system, and the coefficient of each row in Δ in the dual one.
        """
        if self._fitting.gram is not None:
            return _solve_positive(self._fitting.gram, self._fitting.cross, ridge)
        stored = self._fitting.stored()
        kernels = (
            product(stored.rows, np.swapaxes(stored.rows, 1, 2))
            if self._inner_products is None
            else self._inner_products.fitting
        )
        # The trace of AAᵀ is that of AᵀA, whose mean over the unknowns λ refers to.
        return _solve_positive(kernels, stored.residuals, ridge * len(kernels[0]) / self.unknowns)

    def _change(self, coefficients: FloatArray) -> FloatArray:
        if self._fitting.gram is not None:
            return coefficients
        return product(np.swapaxes(self._fitting.stored().rows, 1, 2), coefficients)

    @functools.cached_property
    def _inner_products(self) -> _InnerProducts | None:
        """The inner products of rows if both parts are stored; read only after all `add` calls."""
        if self._fitting.gram is not None or self._judging.gram is not None:
            return None
        fitting, judging = self._fitting.stored().rows, self._judging.stored().rows
        transposed = np.swapaxes(fitting, 1, 2)
        return _InnerProducts(
            fitting=product(fitting, transposed), judging=product(judging, transposed)
        )


@dataclass(frozen=True)
class _Candidate:
    """A strength with the solution of the smaller system and the error on held-out rows."""

    ridge: float
    coefficients: FloatArray
    error: float


@dataclass(frozen=True)
class _InnerProducts:
    """The inner products of fitting rows with each other, and of judging rows with fitting rows."""

    fitting: FloatArray
    judging: FloatArray


def _one_thread() -> AbstractContextManager[object]:
    """Return a context that limits BLAS to one thread."""
    limiter: AbstractContextManager[object] = _threadpools().limit(limits=1, user_api="blas")
    return limiter


@functools.cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def _solve_positive(matrices: FloatArray, rights: FloatArray, ridge: float) -> FloatArray:
    """Solve symmetric systems, one for each group, with a penalty added to their diagonals.

    Args:
        matrices: Array (groups, size, size).
        rights: Array (groups, size, outputs).
        ridge: Float. The penalty of each matrix relative to the mean of its diagonal.
    """
    diagonal = np.arange(matrices.shape[1])
    regularized = matrices.copy()
    means = matrices[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    regularized[:, diagonal, diagonal] += ridge * means
    if len(matrices) > 1:
        with contextlib.suppress(np.linalg.LinAlgError):
            np.linalg.cholesky(regularized)  # Refuses what is not positive definite.
            return np.asarray(np.linalg.solve(regularized, rights), dtype=np.float64)
    return np.stack([_solve_one(*pair) for pair in zip(regularized, rights, strict=True)])


def _solve_one(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve a symmetric system by Cholesky or by least squares.

    Least squares is used if rounding has made the matrix indefinite, or if all inputs are zero.
    """
    try:
        factor = scipy.linalg.cho_factor(matrix)
        return np.asarray(scipy.linalg.cho_solve(factor, right), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], dtype=np.float64)
