"""Fresh weights for dead units: redrawn, centred on the samples, and read by zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.calibration.design import linear_output
from keras_prelu.data.samples import batches
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.interpreter import ExecutedStep, iterate_steps
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan
from keras_prelu.graph.saved_weights import SavedWeights
from keras_prelu.graph.weight_constraints import has_constraint, satisfies_constraint
from keras_prelu.revival.candidates import Candidate, variables_around
from keras_prelu.scaling.unit_surroundings import Surroundings
from keras_prelu.typing import Array

__all__ = ["allowed_by_constraints", "refresh_within_constraints"]


def refresh_within_constraints(
    plan: ExecutionPlan,
    inputs: list[Array],
    size: int,
    candidates: Sequence[Candidate],
    seed: int,
) -> list[Candidate]:
    """Revive the candidates whose constraints can hold, and return all candidates.

    Fresh weights are as their constraints make them. But a constraint may forbid the zeros that
    silences a unit (`UnitNorm` of the weights that read it); such units keep their weights.
    """
    return _change_within_constraints(
        candidates, lambda chosen: _refresh(plan, inputs, size, chosen, seed)
    )


def allowed_by_constraints(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return all candidates, those not to be revived whose constraints can't hold.

    No weight is changed. Constraints of biases, which need the samples, are not tried.
    """
    variables = variables_around(candidates)
    if not has_constraint(variables):
        return list(candidates)
    saved = SavedWeights(variables)
    try:
        return _change_within_constraints(candidates, lambda chosen: _draw(chosen, seed=0))
    finally:
        saved.restore()


def _change_within_constraints(
    candidates: Sequence[Candidate], change: Callable[[Sequence[Candidate]], object]
) -> list[Candidate]:
    """Change the weights around the candidates whose constraints can hold; return all."""
    candidates = list(candidates)
    variables = variables_around(candidates)
    old = SavedWeights(variables)
    held = {id(variable) for variable in variables if satisfies_constraint(variable)}
    while any(candidate.is_revivable for candidate in candidates):
        change(candidates)
        broken = {id(each) for each in variables if not satisfies_constraint(each)} & held
        if not broken:
            break
        old.restore()
        candidates = [candidate.without_breaking(broken) for candidate in candidates]
    return candidates


def _refresh(
    plan: ExecutionPlan,
    inputs: list[Array],
    size: int,
    candidates: Sequence[Candidate],
    seed: int,
) -> None:
    """Assign fresh weights to the dead units of some rectifiers, and centre the units."""
    chosen = _draw(candidates, seed)
    # No fresh unit reads another fresh unit now, so one pass measures them all.
    statistics = _output_statistics(plan, inputs, size, [around for around, _ in chosen])
    for surroundings, units in chosen:
        sums = statistics[id(surroundings.producer.operation)]
        mean = sums.total / sums.count
        surroundings.centre(
            units, mean, np.maximum(sums.squares / sums.count - np.square(mean), 0.0)
        )


def _draw(candidates: Sequence[Candidate], seed: int) -> list[tuple[Surroundings, Array]]:
    """Assign fresh weights to the dead units, and zeros to what reads them; return these units."""
    rng = np.random.default_rng(seed)
    chosen = [
        (candidate.surroundings, candidate.dead)
        for candidate in candidates
        if isinstance(candidate.surroundings, Surroundings)
    ]
    for surroundings, units in chosen:
        surroundings.refresh(units, int(rng.integers(2**31)))
    # Readers are silenced after all fresh weights are drawn, since fresh weights may read another
    # unit that is revived.
    for surroundings, units in chosen:
        for reader in surroundings.readers:
            reader.silence(units)
    return chosen


@dataclass
class _OutputSums:
    """Sums over samples and positions of the outputs of a linear layer, for each output."""

    count: int
    total: Array
    squares: Array


def _output_statistics(
    plan: ExecutionPlan, inputs: list[Array], size: int, surroundings: Sequence[Surroundings]
) -> dict[int, _OutputSums]:
    """Measure the outputs of the producers on the samples, by the id of the layer."""
    views = {id(around.producer.operation): around.view for around in surroundings}
    statistics: dict[int, _OutputSums] = {}
    for executed in _executed_steps(plan, inputs, size):
        layer = executed.step.operation
        view = views.get(id(layer))
        if view is None:
            continue
        outputs = to_float64(linear_output(layer, executed.inputs[0]))
        flat = view.flat_outputs(view.channels_last(outputs))
        flat = flat.reshape(-1, flat.shape[-1])
        zeros = np.zeros(flat.shape[1])
        sums = statistics.setdefault(id(layer), _OutputSums(0, zeros, zeros))
        sums.count += len(flat)
        sums.total = sums.total + flat.sum(axis=0)
        sums.squares = sums.squares + np.square(flat).sum(axis=0)
    return statistics


def _executed_steps(plan: ExecutionPlan, inputs: list[Array], size: int) -> Iterator[ExecutedStep]:
    with state_kept(*(step.operation for step in plan.steps)):
        for batch in batches(inputs, size):
            yield from iterate_steps(plan, [keras.ops.convert_to_tensor(array) for array in batch])
