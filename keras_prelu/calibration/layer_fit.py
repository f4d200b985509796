"""The refit of one linear layer to the original's output, on its inputs in the converted model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keras_prelu.calibration.activation_store import Activations
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.constrained_fit import constrained_solution
from keras_prelu.calibration.design import (
    Assignment,
    Design,
    Intercept,
    Positions,
    channels_last_shape,
)
from keras_prelu.calibration.ridge import RidgeProblem, Solution
from keras_prelu.calibration.samples import SampleSplit
from keras_prelu.graph.linear_layers import LinearView
from keras_prelu.typing import Tensor

__all__ = ["Fit", "InputPair", "fit_layer"]


_ROUNDING = 1e-12
"""An error below which a layer is not refitted.

Such an error is float32's rounding, and a refit could only make bit-identical outputs differ.
"""


@dataclass(frozen=True)
class InputPair:
    """The inputs of one call of a layer, in both models.

    Attributes:
        original: `Activations` in the original model.
        converted: `Activations` in the converted model.
    """

    original: Activations
    converted: Activations


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
) -> Fit:
    """Fit a layer to all its calls.

    Args:
        view: `LinearView` of the layer in the converted model. Nothing is assigned to it.
        counterpart: `LinearView` of the same layer in the original.
        calls: Sequence with an `InputPair` for each call of the layer.
        intercept: `Intercept` of the layer.
        config: `CalibrationConfig`. Settings of the fit.
        split: `SampleSplit`. The division into samples that fit and samples that judge.

    Returns:
        A `Fit`.
    """
    design = Design(view, intercept)
    current, target = design.matrix(view), design.matrix(counterpart)
    groups, unknowns, outputs = current.shape
    problem = RidgeProblem(unknowns=unknowns, outputs=outputs, groups=groups)
    as_expected = _add_rows(problem, design, calls, current, target, config, split)
    if split.exchange is not None:
        as_expected = bool(split.exchange.gather(np.array(as_expected)).all())
    if not as_expected:
        return Fit(unknowns=unknowns, reason="its arithmetic is not the expected one")
    if split.exchange is not None:
        problem.combine(split.exchange)
    return _solve(problem, design, current, config.ridge)


def _solve(problem: RidgeProblem, design: Design, current: np.ndarray, ridge: float | None) -> Fit:
    error_before = problem.error(None)
    if error_before <= _ROUNDING:
        return Fit(
            rows=problem.rows,
            unknowns=problem.unknowns,
            error_before=error_before,
            error_after=error_before,
            reason="its output is right already",
        )
    solution: Solution | None
    solution = problem.best() if ridge is None else problem.solution(ridge)
    if design.is_constrained:
        solution = _constrained(problem, design, current, solution)
    if solution is None:
        return Fit(
            rows=problem.rows,
            unknowns=problem.unknowns,
            error_before=error_before,
            error_after=error_before,
            reason="its constraint leaves no other weights as they are",
        )
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
    problem: RidgeProblem, design: Design, current: np.ndarray, solution: Solution
) -> Solution | None:
    """Return a solution that the constraints of the layer's variables leave as it is, or None."""

    def project(change: np.ndarray) -> np.ndarray | None:
        matrix = design.projected(current + change)
        return None if matrix is None else matrix - current

    constrained = constrained_solution(problem, solution, project)
    if constrained is None or not design.satisfies_constraints(current + constrained.change):
        return None
    return constrained


def _add_rows(
    problem: RidgeProblem,
    design: Design,
    calls: Sequence[InputPair],
    current: np.ndarray,
    target: np.ndarray,
    config: CalibrationConfig,
    split: SampleSplit,
) -> bool:
    """Add this host's rows to a problem.

    Return False if the layer doesn't compute what its `LinearView` predicts.
    """
    for call in calls:
        for batch in _sampled_batches(design.view, call, config, split):
            rows = design.rows(batch.converted, batch.positions)
            if problem.rows == 0 and not design.predicts(
                rows @ current, batch.converted, batch.positions
            ):
                return False
            targets = design.rows(batch.original, batch.positions) @ target
            problem.add(rows, targets - rows @ current, targets, held_out=batch.held_out)
    return True


@dataclass(frozen=True)
class _SampledBatch:
    """The inputs of a layer for one batch in both models, and the rows to take from them.

    The output positions become rows, some of which are held out.
    """

    original: Tensor
    converted: Tensor
    positions: Positions
    held_out: np.ndarray


def _sampled_batches(
    view: LinearView, call: InputPair, config: CalibrationConfig, split: SampleSplit
) -> Iterator[_SampledBatch]:
    """Yield each batch with random positions, whose number follows from `rows_per_unknown`."""
    unknowns = int(np.prod(view.kernel.shape[:-1])) + 1
    held_out, start = split.local_held_out, 0
    for number, original, converted in zip(
        split.batch_numbers, call.original, call.converted, strict=True
    ):
        size, available = len(converted), view.positions(channels_last_shape(view, converted))
        wanted = min(available, -(-config.rows_per_unknown * unknowns // split.total))
        if wanted == available:
            position = np.tile(np.arange(available), size)
        else:
            # The positions depend on the number of the batch, not on the host that has it.
            rng = np.random.default_rng([config.seed, unknowns, number])
            order = np.argpartition(rng.random((size, available)), wanted, axis=1)
            position = order[:, :wanted].reshape(-1)
        sample = np.repeat(np.arange(size), wanted)
        yield _SampledBatch(
            original=original,
            converted=converted,
            positions=Positions(sample=sample, position=position),
            held_out=held_out[start + sample],
        )
        start += size
