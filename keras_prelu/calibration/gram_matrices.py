"""Sums over the rows of a least-squares problem: Gram matrices, and what errors are divided by.

This module depends only on NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.calibration.host_exchange import Exchange
from keras_prelu.typing import Array, FloatArray

__all__ = ["GramMatrices", "StoredRows", "TargetSums", "product"]

_ROUNDING = 1e-12
_BLOCK = 256
"""The number of products that are summed in float32 before they are added to a float64 sum.

With 256, strengths from 1e-6 give the error of float64, also for inputs with a large mean; with
4,096 it is up to a third larger.
"""
_SIZE_WORTH_FLOAT32 = 512
"""The number of rows of a product from which float32 saves noticeable time."""


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
class StoredRows:
    rows: Array
    residuals: Array


class GramMatrices:
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
            StoredRows(
                rows=np.zeros((groups, 0, unknowns), np.float32),
                residuals=np.zeros((groups, 0, outputs), np.float32),
            )
        ]
        self.targets = TargetSums(groups, outputs)

    def add(self, rows: Array, residuals: Array, targets: Array) -> None:
        self._count += rows.shape[1]
        self.residual_square += float(np.sum(np.square(residuals), dtype=np.float64))
        self.targets.add(targets)
        self._blocks.append(StoredRows(rows=rows, residuals=residuals))
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
            self._blocks = [StoredRows(rows=rows, residuals=residuals)]
            return
        self._fold()
        assert self.gram is not None
        self.gram = exchange.gather(self.gram).sum(axis=0)
        self.cross = exchange.gather(self.cross).sum(axis=0)

    def stored(self) -> StoredRows:
        """Return the stored rows and residuals."""
        if len(self._blocks) > 1:
            rows = np.concatenate([block.rows for block in self._blocks], axis=1)
            residuals = np.concatenate([block.residuals for block in self._blocks], axis=1)
            self._blocks = [StoredRows(rows=rows, residuals=residuals)]
        return self._blocks[0]

    def squared_error(self, change: FloatArray) -> float:
        """Return ‖A · change − R‖²."""
        if self.gram is None:
            stored = self.stored()
            return float(np.sum(np.square(product(stored.rows, change) - stored.residuals)))
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
            residuals = product(stored.rows, change) - stored.residuals
            return product(np.swapaxes(stored.rows, 1, 2), residuals)
        return self.gram @ change - self.cross

    def _fold(self) -> None:
        """Add the stored rows to the Gram matrices."""
        if self.gram is None:
            groups, unknowns, _ = self.cross.shape
            self.gram = np.zeros((groups, unknowns, unknowns))
        for block in self._blocks:
            _add_products(self.gram, self.cross, block)
        first = self._blocks[0]
        self._blocks = [StoredRows(rows=first.rows[:, :0], residuals=first.residuals[:, :0])]


def product(left: Array, right: Array) -> FloatArray:
    """Return the matrix product of each group in float64.

    Large float32 factors are multiplied in float32, in blocks that are summed in float64.
    """
    total = np.zeros((left.shape[0], left.shape[1], right.shape[2]))
    dtype = _dtype_of_products(left, left.shape[1])
    for block in _blocks_of(left.shape[2], dtype):
        total += np.matmul(_cast(left[:, :, block], dtype), _cast(right[:, block], dtype))
    return total


def _add_products(gram: FloatArray, cross: FloatArray, stored: StoredRows) -> None:
    """Add the products of stored rows A and residuals R to the matrices AᵀA and AᵀR."""
    dtype = _dtype_of_products(stored.rows, stored.rows.shape[2])
    for block in _blocks_of(stored.rows.shape[1], dtype):
        rows = _cast(stored.rows[:, block], dtype)
        transposed = np.swapaxes(rows, 1, 2)
        # NumPy computes half of a product of a matrix with its own transpose. It recognizes both by
        # their memory, so they must not be cast apart.
        gram += np.matmul(transposed, rows)
        cross += np.matmul(transposed, _cast(stored.residuals[:, block], dtype))


def _dtype_of_products(array: Array, size: int) -> Any:
    return array.dtype if size >= _SIZE_WORTH_FLOAT32 else np.dtype(np.float64)


def _blocks_of(length: int, dtype: Any) -> list[slice]:
    """Return the parts of sums that are computed at once: in float64 all of it."""
    step = _BLOCK if dtype == np.float32 else max(length, 1)
    return [slice(start, start + step) for start in range(0, length, step)]


def _cast(array: Array, dtype: Any) -> Array:
    return array.astype(dtype, copy=False)
