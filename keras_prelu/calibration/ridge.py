"""Ridge regression of the weights of a layer, accumulated in chunks and judged on held-out rows.

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

from keras_prelu.calibration.host_exchange import Exchange
from keras_prelu.typing import Array, FloatArray

__all__ = ["RIDGES", "RidgeProblem", "RowBlock", "Solution", "TargetSums"]


RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths to choose from on held-out rows, in ascending order."""
_FIRST_INDEX = 3

_ROUNDING = 1e-12
_BLOCK = 256
"""The number of products that are summed in float32 before they are added to a float64 sum.

With 256, strengths from 1e-6 give the error of float64, also for inputs with a large mean; with
4,096 it is up to a third larger.
"""
_SIZE_WORTH_FLOAT32 = 512
"""The number of rows of a product from which float32 saves noticeable time."""
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
        self._fitting = _Rows(groups, unknowns, outputs)
        self._judging = _Rows(groups, unknowns, outputs)

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
            _product(stored.rows, np.swapaxes(stored.rows, 1, 2))
            if self._inner_products is None
            else self._inner_products.fitting
        )
        # The trace of AAᵀ is that of AᵀA, whose mean over the unknowns λ refers to.
        return _solve_positive(kernels, stored.residuals, ridge * len(kernels[0]) / self.unknowns)

    def _change(self, coefficients: FloatArray) -> FloatArray:
        if self._fitting.gram is not None:
            return coefficients
        return _product(np.swapaxes(self._fitting.stored().rows, 1, 2), coefficients)

    @functools.cached_property
    def _inner_products(self) -> _InnerProducts | None:
        """The inner products of rows if both parts are stored; read only after all `add` calls."""
        if self._fitting.gram is not None or self._judging.gram is not None:
            return None
        fitting, judging = self._fitting.stored().rows, self._judging.stored().rows
        transposed = np.swapaxes(fitting, 1, 2)
        return _InnerProducts(
            fitting=_product(fitting, transposed), judging=_product(judging, transposed)
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


class TargetSums:
    """The sums over target outputs that errors are divided by.

    Args:
        groups: Integer. Number of independent problems.
        outputs: Integer. Outputs of each of them.
    """

    def __init__(self, groups: int, outputs: int) -> None:
        self._count = 0
        self._sum = np.zeros((groups, outputs))
        self._square = 0.0

    def add(self, targets: Array) -> None:
        """Add targets (groups, n, outputs)."""
        self._count += targets.shape[1]
        self._sum += targets.sum(axis=1, dtype=np.float64)
        self._square += float(np.sum(np.square(targets), dtype=np.float64))

    def combine(self, exchange: Exchange) -> None:
        """Add the targets of all other hosts."""
        flat = np.concatenate([[self._count, self._square], self._sum.reshape(-1)])
        sums = exchange.gather(flat).sum(axis=0)
        self._count, self._square = int(sums[0]), float(sums[1])
        self._sum = sums[2:].reshape(self._sum.shape)

    @property
    def scale(self) -> float:
        """The divisor of squared errors: the variation of the targets about their mean, by output.

        For targets that don't vary, such as a single one, it is the sum of their squares; for
        targets of 0 it is 1.
        """
        mean_part = float(np.sum(np.square(self._sum))) / max(self._count, 1)
        variation = self._square - mean_part
        if variation > _ROUNDING * self._square:
            return variation
        return self._square or 1.0


@dataclass(frozen=True)
class _StoredRows:
    rows: Array
    residuals: Array


class _Rows:
    """Design rows and residuals, stored or as Gram matrices.

    Rows are stored while there are fewer of them than unknowns; later they are summed in the Gram
    matrices AᵀA and AᵀR.

    Attributes:
        gram: Array (groups, unknowns, unknowns), or None while the rows are stored.
        cross: Array (groups, unknowns, outputs). AᵀR; zero while the rows are stored.
        residual_square: Float. Σ‖R‖².
        targets: `TargetSums`.
    """

    def __init__(self, groups: int, unknowns: int, outputs: int) -> None:
        self.gram: FloatArray | None = None
        self.cross = np.zeros((groups, unknowns, outputs))
        self.residual_square = 0.0
        self._count = 0
        self._unknowns = unknowns
        self._blocks = [
            _StoredRows(
                rows=np.zeros((groups, 0, unknowns), np.float32),
                residuals=np.zeros((groups, 0, outputs), np.float32),
            )
        ]
        self.targets = TargetSums(groups, outputs)

    def add(self, rows: Array, residuals: Array, targets: Array) -> None:
        self._count += rows.shape[1]
        self.residual_square += float(np.sum(np.square(residuals), dtype=np.float64))
        self.targets.add(targets)
        self._blocks.append(_StoredRows(rows=rows, residuals=residuals))
        if self._count >= self._unknowns:
            self._fold()

    def combine(self, exchange: Exchange) -> None:
        """Sum the Gram matrices of all hosts, or gather their rows.

        Matrices are summed if all hosts together have at least as many rows as unknowns.
        """
        sums = exchange.gather(np.array([self._count, self.residual_square])).sum(axis=0)
        self._count, self.residual_square = int(sums[0]), float(sums[1])
        self.targets.combine(exchange)
        if self._count < self._unknowns:
            stored = self.stored()
            rows, residuals = (
                np.moveaxis(exchange.gather_rows(np.moveaxis(array, 1, 0)), 0, 1)
                for array in (stored.rows, stored.residuals)
            )
            self._blocks = [_StoredRows(rows=rows, residuals=residuals)]
            return
        self._fold()
        assert self.gram is not None
        self.gram = exchange.gather(self.gram).sum(axis=0)
        self.cross = exchange.gather(self.cross).sum(axis=0)

    def stored(self) -> _StoredRows:
        """Return the stored rows and residuals."""
        if len(self._blocks) > 1:
            rows = np.concatenate([block.rows for block in self._blocks], axis=1)
            residuals = np.concatenate([block.residuals for block in self._blocks], axis=1)
            self._blocks = [_StoredRows(rows=rows, residuals=residuals)]
        return self._blocks[0]

    def squared_error(self, change: FloatArray) -> float:
        """Return ‖A · change − R‖²."""
        if self.gram is None:
            stored = self.stored()
            return float(np.sum(np.square(_product(stored.rows, change) - stored.residuals)))
        squared = (
            self.residual_square
            - 2.0 * float(np.sum(change * self.cross))
            + float(np.sum(change * (self.gram @ change)))
        )
        return max(squared, 0.0)

    def gradient(self, change: FloatArray) -> FloatArray:
        """Return Aᵀ(A · change − R)."""
        if self.gram is None:
            stored = self.stored()
            residuals = _product(stored.rows, change) - stored.residuals
            return _product(np.swapaxes(stored.rows, 1, 2), residuals)
        return self.gram @ change - self.cross

    def _fold(self) -> None:
        """Add the stored rows to the Gram matrices."""
        if self.gram is None:
            groups, unknowns, _ = self.cross.shape
            self.gram = np.zeros((groups, unknowns, unknowns))
        for block in self._blocks:
            transposed = np.swapaxes(block.rows, 1, 2)
            _add_product(self.gram, transposed, block.rows)
            _add_product(self.cross, transposed, block.residuals)
        first = self._blocks[0]
        self._blocks = [_StoredRows(rows=first.rows[:, :0], residuals=first.residuals[:, :0])]


def _product(left: Array, right: Array) -> FloatArray:
    """Return the matrix product of each group in float64."""
    result = np.zeros((left.shape[0], left.shape[1], right.shape[2]))
    _add_product(result, left, right)
    return result


def _add_product(total: FloatArray, left: Array, right: Array) -> None:
    """Add the matrix product of each group to a float64 array.

    Large float32 factors are multiplied in float32, in blocks that are summed in float64.
    """
    dtype = left.dtype if left.shape[1] >= _SIZE_WORTH_FLOAT32 else np.float64
    for start in range(0, left.shape[2], _BLOCK):
        block = slice(start, start + _BLOCK)
        total += np.matmul(
            left[:, :, block].astype(dtype, copy=False), right[:, block].astype(dtype, copy=False)
        )


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
