"""Ridge regression of a layer's weights, accumulated in chunks, judged on rows held out. NumPy and
SciPy only."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg
from threadpoolctl import ThreadpoolController

__all__ = ["RIDGES", "RidgeProblem", "Solution"]

Array = npt.NDArray[np.float64]

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths among which held-out rows choose, weak to strong."""
_FIRST = 3

_ROUNDING = 1e-12
_WORTH_THREADS = 1024
"""Unknowns from which a factorization gains by several threads; below, handing work over to them
costs more than the work."""


class Exchange(Protocol):
    """How several hosts share arrays; see `keras_prelu.backend.devices`."""

    def gather(self, array: np.ndarray) -> np.ndarray:
        """All hosts' arrays along a new first axis."""

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """All hosts' rows, one host after the other."""


@dataclass(frozen=True)
class Solution:
    """A change of the weights, the strength that it was found with, and its error on held-out
    rows."""

    ridge: float
    change: Array
    error: float


class RidgeProblem:
    """Find Δ that minimizes ‖AΔ − R‖² + λ‖Δ‖², for each of several groups, in float64.

    A are the design rows, R what the current weights leave unexplained, so Δ is the change of the
    weights and the penalty keeps them where they are. Rows are accumulated into Gram matrices AᵀA;
    fewer rows than unknowns are kept as they are, for the dual system Δ = Aᵀ(AAᵀ + λI)⁻¹R, which is
    smaller.

    Args:
        unknowns: Columns of A.
        outputs: Columns of R.
        groups: Number of independent problems.
    """

    def __init__(self, unknowns: int, outputs: int, groups: int = 1) -> None:
        self.unknowns = unknowns
        self.rows = 0
        self._fit = _Rows(groups, unknowns, outputs)
        self._held = _Rows(groups, unknowns, outputs)

    def add(
        self, rows: Array, residuals: Array, targets: Array, held_out: npt.NDArray[np.bool_]
    ) -> None:
        """Add design rows (groups, n, unknowns), residuals and targets (groups, n, outputs);
        `held_out` (n,) marks rows to judge by."""
        self.rows += rows.shape[1]
        for part, chosen in ((self._fit, ~held_out), (self._held, held_out)):
            part.add(rows[:, chosen], residuals[:, chosen], targets[:, chosen])

    def combine(self, exchange: Exchange) -> None:
        """Make this the problem of all hosts' rows, on each of them."""
        self.rows = int(exchange.gather(np.array(self.rows)).sum())
        for part in (self._fit, self._held):
            part.combine(exchange)

    def solve(self, ridge: float) -> Array:
        """Δ (groups, unknowns, outputs), with λ = `ridge` × the mean diagonal of the Gram
        matrix."""
        return self._change(self._weights(ridge))

    def best(self) -> Solution:
        """The solution with the least error on held-out rows, going from the middle of `RIDGES` as
        long as it gets better.

        A Cholesky factorization for each strength tried, three or four, costs less than one
        eigendecomposition for all of them.
        """
        with _one_thread() if self.unknowns < _WORTH_THREADS else nullcontext():
            ridge, weights, error = self._descend()
            return Solution(ridge, self._change(weights), error)

    def solution(self, ridge: float) -> Solution:
        """The solution for one strength."""
        change = self.solve(ridge)
        return Solution(ridge, change, self.error(change))

    def error(self, change: Array | None) -> float:
        """Squared error with the weights changed by `change` (None: not at all) over the targets'
        variance, on held-out rows."""
        return (
            self._held.residual_square if change is None else self._held.squared_error(change)
        ) / self._held.scale

    def _descend(self) -> tuple[float, Array, float]:
        best = self._candidate(RIDGES[_FIRST])
        for direction in (-1, 1):
            found = best
            for ridge in RIDGES[_FIRST + direction :: direction]:
                candidate = self._candidate(ridge)
                if not candidate[2] < best[2]:
                    break
                best = candidate
            if best is not found:
                break
        return best

    def _candidate(self, ridge: float) -> tuple[float, Array, float]:
        """A strength, its weights, and their error on held-out rows."""
        weights = self._weights(ridge)
        if self._kernel is None:
            return ridge, weights, self.error(self._change(weights))
        return (
            ridge,
            weights,
            float(np.sum(np.square(self._kernel[1] @ weights - self._held.all()[1])))
            / self._held.scale,
        )

    def _weights(self, ridge: float) -> Array:
        """What solves the smaller system: Δ itself, or in the dual how much of each row is in
        it."""
        if self._fit.gram is not None:
            return np.stack(
                [
                    _solve_primal(g, c, ridge)
                    for g, c in zip(self._fit.gram, self._fit.cross, strict=True)
                ]
            )
        rows, residuals = self._fit.all()
        kernels = self._kernel[0] if self._kernel is not None else rows @ np.swapaxes(rows, 1, 2)
        return np.stack(
            [
                _solve_dual(k, r, ridge * float(np.trace(k)) / self.unknowns)
                for k, r in zip(kernels, residuals, strict=True)
            ]
        )

    def _change(self, weights: Array) -> Array:
        return (
            weights
            if self._fit.gram is not None
            else np.swapaxes(self._fit.all()[0], 1, 2) @ weights
        )

    @functools.cached_property
    def _kernel(self) -> tuple[Array, Array] | None:
        """The inner products of the rows with each other and with the held-out ones, where both are
        kept; asked for when all are there."""
        if self._fit.gram is not None or self._held.gram is not None:
            return None
        rows, held = self._fit.all()[0], self._held.all()[0]
        return rows @ np.swapaxes(rows, 1, 2), held @ np.swapaxes(rows, 1, 2)


class _Rows:
    """Design rows and residuals: kept while they are fewer than the unknowns, then as Gram matrices
    AᵀA and AᵀR.

    Attributes:
        gram, cross: The matrices, or None while the rows are kept.
        residual_square: Σ‖R‖².
    """

    def __init__(self, groups: int, unknowns: int, outputs: int) -> None:
        self.gram: Array | None = None
        self.cross = np.zeros((groups, unknowns, outputs))
        self.residual_square = 0.0
        self._count = 0
        self._unknowns = unknowns
        self._kept: list[tuple[Array, Array]] = [
            (np.zeros((groups, 0, unknowns)), np.zeros((groups, 0, outputs)))
        ]
        self._target_sum = np.zeros((groups, outputs))
        self._target_square = 0.0

    def add(self, rows: Array, residuals: Array, targets: Array) -> None:
        self._count += rows.shape[1]
        self.residual_square += float(np.sum(np.square(residuals)))
        self._target_sum += targets.sum(axis=1)
        self._target_square += float(np.sum(np.square(targets)))
        self._kept.append((rows, residuals))
        if self._count >= self._unknowns:
            self._fold()

    def combine(self, exchange: Exchange) -> None:
        """Gram matrices are summed where all hosts' rows together are no fewer than the unknowns,
        else the rows are gathered."""
        sums = np.concatenate(
            [[self._count, self.residual_square, self._target_square], self._target_sum.reshape(-1)]
        )
        sums = exchange.gather(sums).sum(axis=0)
        self._count, self.residual_square, self._target_square = (
            int(sums[0]),
            float(sums[1]),
            float(sums[2]),
        )
        self._target_sum = sums[3:].reshape(self._target_sum.shape)
        if self._count < self._unknowns:
            rows, residuals = (
                np.moveaxis(exchange.gather_rows(np.moveaxis(array, 1, 0)), 0, 1)
                for array in self.all()
            )
            self._kept = [(rows, residuals)]
            return
        self._fold()
        assert self.gram is not None
        self.gram, self.cross = (
            exchange.gather(self.gram).sum(axis=0),
            exchange.gather(self.cross).sum(axis=0),
        )

    def all(self) -> tuple[Array, Array]:
        """The kept rows and residuals."""
        if len(self._kept) > 1:
            self._kept = [
                (
                    np.concatenate([rows for rows, _ in self._kept], axis=1),
                    np.concatenate([r for _, r in self._kept], axis=1),
                )
            ]
        return self._kept[0]

    def squared_error(self, change: Array) -> float:
        """‖A · change − R‖²."""
        if self.gram is None:
            rows, residuals = self.all()
            return float(np.sum(np.square(rows @ change - residuals)))
        squared = (
            self.residual_square
            - 2.0 * float(np.sum(change * self.cross))
            + float(np.sum(change * (self.gram @ change)))
        )
        return max(squared, 0.0)

    @property
    def scale(self) -> float:
        """The targets' variation about their mean; of targets that don't vary, as a single one
        doesn't, their square; else 1."""
        variation = self._target_square - float(np.sum(np.square(self._target_sum))) / max(
            self._count, 1
        )
        return (
            variation if variation > _ROUNDING * self._target_square else self._target_square or 1.0
        )

    def _fold(self) -> None:
        rows, residuals = self.all()
        transposed = np.swapaxes(rows, 1, 2)
        if self.gram is None:
            self.gram, self.cross = transposed @ rows, transposed @ residuals
        else:
            self.gram += transposed @ rows
            self.cross += transposed @ residuals
        self._kept = [(rows[:, :0], residuals[:, :0])]


def _one_thread() -> AbstractContextManager[object]:
    """Keeps BLAS to one thread."""
    limiter: AbstractContextManager[object] = _threadpools().limit(limits=1, user_api="blas")
    return limiter


@functools.cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def _solve_primal(gram: Array, cross: Array, ridge: float) -> Array:
    regularized = gram + ridge * float(np.mean(np.diag(gram))) * np.eye(len(gram))
    return _solve_positive(regularized, cross)


def _solve_dual(kernel: Array, residuals: Array, penalty: float) -> Array:
    return _solve_positive(kernel + penalty * np.eye(len(kernel)), residuals)


def _solve_positive(matrix: Array, right: Array) -> Array:
    """By Cholesky; by least squares where rounding has made the matrix indefinite, or all inputs
    are zero."""
    try:
        return scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix), right)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], dtype=np.float64)
