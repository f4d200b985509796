"""Ridge regression by conjugate gradients, for layers whose Gram matrix would be too large.

Nothing of the size unknowns × unknowns or rows × unknowns is held: the design rows are made anew,
chunk by chunk, in each iteration. This module depends only on NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from keras_prelu.calibration.gram_matrices import TargetSums
from keras_prelu.calibration.host_exchange import Exchange
from keras_prelu.calibration.ridge import RIDGES, RidgeProblem, RowBlock, Solution
from keras_prelu.typing import Array, FloatArray

__all__ = ["Problem", "RowSource", "StreamedRidgeProblem"]


_MOST_ITERATIONS = 40
_PATIENCE = 4
"""The iterations without a smaller error on held-out rows after which the search ends."""
_WORTHWHILE = 0.99
"""The share of an error that a later one has to fall below to count as smaller."""
_CONVERGED = 1e-14
"""The share of the squared gradient at which a solution for a given strength is accepted."""


class RowSource(Protocol):
    """Protocol of rows that can be read repeatedly, in the same blocks each time."""

    def __iter__(self) -> Iterator[RowBlock]:
        """Yield the rows of this host in blocks."""

    def designs(self) -> Iterator[Array]:
        """Yield the design rows of each block alone."""


class StreamedRidgeProblem:
    """The problem of `RidgeProblem`, solved by conjugate gradients on the normal equations.

    The columns of A are scaled to equal norms. Without a given strength, the iteration that has the
    least error on held-out rows is the solution: stopping early regularizes as a penalty does.

    Args:
        source: `RowSource`. The rows of this host.
        unknowns: Integer. Columns of A.
        outputs: Integer. Columns of R.
        groups: Integer. Number of independent problems.
        exchange: `Exchange` with the hosts that have other rows, or None.

    Attributes:
        rows: Integer. Number of rows.
        unknowns: Integer. Columns of A.
    """

    def __init__(
        self,
        source: RowSource,
        unknowns: int,
        outputs: int,
        groups: int,
        exchange: Exchange | None,
    ) -> None:
        self.unknowns = unknowns
        self.rows = 0
        self._source = source
        self._exchange = exchange
        self._residuals: list[_Residuals] = []
        self._cross = np.zeros((groups, unknowns, outputs))
        self._squares = np.zeros((groups, unknowns, 1))
        self._judging = TargetSums(groups, outputs)
        self._residual_square = 0.0
        self._read()

    def best(self) -> Solution:
        """Return the solution with the least error on held-out rows."""
        best = Solution(ridge=RIDGES[0], change=np.zeros_like(self._cross), error=self.error(None))
        reference, waited = best.error, 0
        for iterate in self._iterates(RIDGES[0]):
            if iterate.error < best.error:
                best = iterate
            if iterate.error < _WORTHWHILE * reference:
                reference, waited = iterate.error, 0
            else:
                waited += 1
            if waited == _PATIENCE:
                break
        return best

    def solution(self, ridge: float) -> Solution:
        """Return the solution for one strength."""
        unchanged = Solution(ridge=ridge, change=np.zeros_like(self._cross), error=self.error(None))
        return functools.reduce(lambda _, iterate: iterate, self._iterates(ridge), unchanged)

    def error(self, change: FloatArray | None) -> float:
        """Return the squared error on held-out rows divided by the targets' variance.

        The weights are changed by `change`, or unchanged if it is None.
        """
        if change is None:
            return self._residual_square / self._judging.scale
        squared = 0.0
        for rows, residuals in self._pairs():
            judging = rows[:, residuals.held_out] @ change.astype(rows.dtype)
            squared += _square(judging - residuals.values[:, residuals.held_out])
        return float(self._sum(np.array(squared))) / self._judging.scale

    def gradient(self, change: FloatArray) -> FloatArray:
        """Return half the gradient of ‖AΔ − R‖² with respect to Δ, at a change of the weights."""
        return self._normal(change).curvature - self._cross

    def _read(self) -> None:
        """Read the rows once, and sum up what does not depend on a change of the weights."""
        for block in self._source:
            self.rows += block.rows.shape[1]
            fitting = ~block.held_out
            rows, residuals = block.rows[:, fitting], block.residuals[:, fitting]
            self._cross += np.swapaxes(rows, 1, 2) @ residuals
            self._squares[..., 0] += np.sum(np.square(rows), axis=1, dtype=np.float64)
            self._judging.add(block.targets[:, block.held_out])
            self._residual_square += _square(block.residuals[:, block.held_out])
            self._residuals.append(_Residuals(values=block.residuals, held_out=block.held_out))
        if self._exchange is not None:
            self.rows = int(self._sum(np.array(self.rows)))
            self._cross, self._squares = self._sum(self._cross), self._sum(self._squares)
            self._residual_square = float(self._sum(np.array(self._residual_square)))
            self._judging.combine(self._exchange)

    def _iterates(self, ridge: float) -> Iterator[Solution]:
        """Yield the change of the weights and its error after each iteration."""
        penalty = ridge * self._squares.mean(axis=1, keepdims=True)
        scale = 1.0 / np.where(self._squares > 0, self._squares + penalty, 1.0)
        change, gradient = np.zeros_like(self._cross), self._cross.copy()
        held = [each.values[:, each.held_out].astype(np.float64) for each in self._residuals]
        direction = scale * gradient
        length = first = np.sum(gradient * direction, axis=1, keepdims=True)
        for _ in range(_MOST_ITERATIONS):
            product = self._normal(direction)
            curvature = product.curvature + penalty * direction
            step = _ratio(length, np.sum(direction * curvature, axis=1, keepdims=True))
            change = change + step * direction
            gradient -= step * curvature
            for values, predicted in zip(held, product.judging, strict=True):
                values -= step * predicted
            squared = float(self._sum(np.array(sum(map(_square, held)))))
            yield Solution(ridge=ridge, change=change, error=squared / self._judging.scale)
            preconditioned = scale * gradient
            following = np.sum(gradient * preconditioned, axis=1, keepdims=True)
            if not np.any(following > _CONVERGED * first):
                return
            direction = preconditioned + _ratio(following, length) * direction
            length = following

    def _normal(self, direction: FloatArray) -> _NormalProduct:
        """Return AᵀA times a direction, and the rows that judge times it."""
        total, judging = np.zeros_like(direction), []
        for rows, residuals in self._pairs():
            predicted = rows @ direction.astype(rows.dtype)
            judging.append(predicted[:, residuals.held_out])
            predicted[:, residuals.held_out] = 0
            total += np.swapaxes(rows, 1, 2) @ predicted
        return _NormalProduct(curvature=self._sum(total), judging=judging)

    def _pairs(self) -> Iterator[tuple[Array, _Residuals]]:
        return zip(self._source.designs(), self._residuals, strict=True)

    def _sum(self, array: Array) -> Array:
        """Return the sum of an array over all hosts."""
        return array if self._exchange is None else self._exchange.gather(array).sum(axis=0)


@dataclass(frozen=True)
class _Residuals:
    """The residuals of a block of rows, and which of the rows are held out."""

    values: Array
    held_out: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _NormalProduct:
    """AᵀA times a direction, and for each block of rows its held-out rows times the direction."""

    curvature: FloatArray
    judging: list[Array]


def _square(array: Array) -> float:
    return float(np.sum(np.square(array), dtype=np.float64))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return the ratio, and 0 where the denominator is 0."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), 0.0)


Problem: TypeAlias = RidgeProblem | StreamedRidgeProblem
"""A problem in one of its two forms, which have the same methods."""
