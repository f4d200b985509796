"""The refit of one linear layer to the original's output, on its inputs in the converted model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.constrained_fit import constrained_solution
from keras_prelu.calibration.design import Assignment, Design, Intercept
from keras_prelu.calibration.layer_rows import InputPair, LayerRows
from keras_prelu.calibration.ridge import RidgeProblem, Solution
from keras_prelu.calibration.samples import SampleSplit
from keras_prelu.calibration.streamed_ridge import Problem, StreamedRidgeProblem
from keras_prelu.graph.linear_layers import LinearView

__all__ = ["Fit", "fit_layer"]


_ROUNDING = 1e-12
"""An error below which a layer is not refitted.

Such an error is float32's rounding, and a refit could only make bit-identical outputs differ.
"""

_DIRECT_SHARE = 0.25
"""The share of the memory limit that the matrices of a direct solution may take."""
_DIRECT_BYTES = 64e6
"""The bytes that they may take under any limit."""
_VECTORS = 8
"""The number of arrays of the size of the weights that conjugate gradients hold."""


@dataclass(frozen=True)
class Fit:
    """The outcome of fitting a layer.

    Attributes:
        rows: Integer. Rows of the least-squares problem.
        unknowns: Integer. Weights of one output, bias included.
        ridge: Float or None. λ relative to the mean diagonal of the Gram matrix; None if nothing
            was solved.
        error_before: Float or None. Squared error divided by the targets' variance on held-out
            samples, with the old weights; None if the layer can't be fitted.
        error_after: Float or None. The same error with the new weights.
        assignments: Tuple of `Assignment`. Empty if the layer keeps its weights.
        reason: String. Why the layer keeps its weights, or "".
    """

    rows: int = 0
    unknowns: int = 0
    ridge: float | None = None
    error_before: float | None = None
    error_after: float | None = None
    assignments: tuple[Assignment, ...] = ()
    reason: str = ""


def fit_layer(
    view: LinearView,
    counterpart: LinearView,
    calls: Sequence[InputPair],
    intercept: Intercept,
    config: CalibrationConfig,
    split: SampleSplit,
    make_room: Callable[[float], None],
) -> Fit:
    """Fit a layer to all its calls.

    Args:
        view: `LinearView` of the layer in the converted model. Nothing is assigned to it.
        counterpart: `LinearView` of the same layer in the original.
        calls: Sequence with an `InputPair` for each call of the layer.
        intercept: `Intercept` of the layer.
        config: `CalibrationConfig`. Settings of the fit.
        split: `SampleSplit`. The division into samples that fit and samples that judge.
        make_room: Function that is called with the number of bytes that the fit is about to take.

    Returns:
        A `Fit`.
    """
    design = Design(view, intercept)
    current, target = design.matrix(view), design.matrix(counterpart)
    rows = LayerRows(design, calls, current, target, config, split)
    as_expected = rows.are_as_expected()
    if split.exchange is not None:
        as_expected = bool(split.exchange.gather(np.array(as_expected)).all())
    if not as_expected:
        return Fit(unknowns=current.shape[1], reason="its arithmetic is not the expected one")
    problem = _problem(rows, current.shape, config, split, make_room)
    return _solve(problem, design, current, config.ridge)


def _problem(
    rows: LayerRows,
    shape: tuple[int, ...],
    config: CalibrationConfig,
    split: SampleSplit,
    make_room: Callable[[float], None],
) -> Problem:
    """Return the problem of a layer with all its rows, in the form that fits into memory."""
    groups, unknowns, outputs = shape
    needed = _direct_bytes(groups, unknowns, rows.count)
    if needed > max(_DIRECT_SHARE * config.memory_limit, _DIRECT_BYTES):
        make_room(_VECTORS * 8.0 * groups * unknowns * outputs)
        return StreamedRidgeProblem(rows, unknowns, outputs, groups, split.exchange)
    make_room(needed)
    problem = RidgeProblem(unknowns, outputs, groups)
    for block in rows:
        problem.add(block)
    if split.exchange is not None:
        problem.combine(split.exchange)
    return problem


def _direct_bytes(groups: int, unknowns: int, rows: int) -> float:
    """Return the bytes that a `RidgeProblem` takes, with the factorization of its matrices."""
    if rows <= unknowns:  # The rows are stored, and the inner products between them.
        return groups * rows * (4.0 * unknowns + 24.0 * rows)
    return groups * 32.0 * unknowns**2


def _solve(problem: Problem, design: Design, current: np.ndarray, ridge: float | None) -> Fit:
    error_before = problem.error(None)
    if error_before <= _ROUNDING:
        return _unchanged(problem, error_before, "its output is right already")
    solution: Solution | None
    solution = problem.best() if ridge is None else problem.solution(ridge)
    if design.is_constrained:
        solution = _constrained(problem, design, current, solution)
    if solution is None:
        reason = "its constraint leaves no other weights as they are"
        return _unchanged(problem, error_before, reason)
    helps = solution.error < error_before
    return Fit(
        rows=problem.rows,
        unknowns=problem.unknowns,
        ridge=solution.ridge,
        error_before=error_before,
        error_after=solution.error if helps else error_before,
        assignments=design.assignments(current + solution.change) if helps else (),
        reason="" if helps else "the refit did not help on held-out samples",
    )


def _constrained(
    problem: Problem, design: Design, current: np.ndarray, solution: Solution
) -> Solution | None:
    """Return a solution that the constraints of the layer's variables leave as it is, or None."""

    def project(change: np.ndarray) -> np.ndarray | None:
        matrix = design.projected(current + change)
        return None if matrix is None else matrix - current

    constrained = constrained_solution(problem, solution, project)
    if constrained is None or not design.satisfies_constraints(current + constrained.change):
        return None
    return constrained


def _unchanged(problem: Problem, error: float, reason: str) -> Fit:
    """Return the fit of a layer that keeps its weights."""
    return Fit(
        rows=problem.rows,
        unknowns=problem.unknowns,
        error_before=error,
        error_after=error,
        reason=reason,
    )
