"""Reviving dead units so that training can use them, with the function kept (claim 2).

A ReLU unit that is positive on no sample outputs 0 and gets no gradient, so training can't
reactivate it. Its incoming weights are redrawn, its bias is set so that its pre-activation is
centred on the samples, and the weights that read it become 0. The outputs of the network do not
change, and in the first training step the outgoing weights get a gradient again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.calibration.design import linear_output
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.interpreter import ExecutedStep, iterate_steps, run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan, compile_plan
from keras_prelu.graph.saved_weights import SavedWeights, restored_on_failure
from keras_prelu.graph.weight_constraints import satisfies_constraint
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.scaling.unit_surroundings import Surroundings, surroundings_of
from keras_prelu.sites.activity import ActivityProbe, SiteActivity
from keras_prelu.typing import Array
from keras_prelu.utils.checks import check_number
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS
from keras_prelu.verification.probes import first_batch
from keras_prelu.verification.same_function import FunctionCheck
from keras_prelu.verification.steps import is_random, steps_difference

__all__ = ["Revival", "SiteRevival", "revive"]


@dataclass(frozen=True)
class SiteRevival:
    """The revival at one rectifier.

    Attributes:
        path: String. Path of the site.
        units: Integer. Number of units (channels) at the site; 0 for a site that is not seen, as in
            `diagnostics.dead_units`.
        dead_before: Integer. Number of dead units: those active on at most the threshold's share of
            the samples.
        revived: Integer. Number of dead units that got fresh weights.
        dead_after: Integer. Number of dead units afterwards.
        action: String. "revived", "none dead", or "kept" with the reason.
    """

    path: str
    units: int
    dead_before: int
    revived: int
    dead_after: int
    action: str


@dataclass(frozen=True)
class Revival:
    """The record of a revival.

    Attributes:
        samples: Integer. Number of samples on which dead units were found.
        threshold: Float. A unit that was active on at most this share of the samples was dead.
        loss: Float. Mean squared change of the model's outputs on the samples, divided by their
            variance and averaged over outputs. 0 for ReLU units that were active on no sample.
        sites: Tuple of `SiteRevival`, one for each rectifier.
    """

    samples: int
    threshold: float
    loss: float
    sites: tuple[SiteRevival, ...]

    @property
    def revived(self) -> int:
        """Number of units that got fresh weights."""
        return sum(site.revived for site in self.sites)


@on_large_graphs
def revive(
    model: keras.Model,
    samples: Any,
    *,
    threshold: float = 0.01,
    batch_size: int = 128,
    seed: int = 0,
) -> Revival:
    """Assign fresh weights to dead and nearly dead units, in place, with the function kept.

    Incoming weights are drawn as by `PReLUHeNormal`. The bias (or the statistics of a
    BatchNormalization between) centres the unit's pre-activation on the samples, and outgoing
    weights become 0. The contribution of a nearly dead unit to the outputs is lost. Under PReLU,
    so is the signal that a dead unit passed on through its slope. To convert a network with dead
    units, revive it first, and calibrate the conversion against the revived network: calibration
    against the old network would restore the weights of the dead units.

    Args:
        model: `keras.Model`. Sequential or Functional; ReLU or PReLU. It is changed. A unit is
            revived if a linear layer of its own writes it (a BatchNormalization may follow) and
            only linear layers read it, through poolings and the like. Other units are kept, with
            the reason; so are those around frozen layers, around layers that share their weights,
            and those for which a constraint of a weight would be violated.
        samples: Unlabeled samples, as many as are available: an array, or a list or dict of arrays
            for several inputs.
        threshold: Float. A unit that is active on at most this share of the samples is dead. With
            0, only units that are active on no sample are. Defaults to 0.01.
        batch_size: Integer. Samples that pass through the model at once. Defaults to 128.
        seed: Integer. Seed of the fresh weights. Defaults to 0.

    Returns:
        A `Revival`.

    Raises:
        ConversionError: The model has no graph; or its predictions change although the revived
            units were active on no sample, so that it got its old weights back.
        DataError: The samples do not fit the model.
        InvalidArgumentError: A ValueError; the threshold is not in [0, 1).

    Example:

    >>> record = keras_prelu.revive(model, x_train)
    >>> record.revived
    >>> converted = keras_prelu.convert(model, calibration_data=x_train[:512])

    References:
        Claims 2 and 4; docs/explanation/results.md.
    """
    check_number("threshold", threshold, minimum=0.0)
    if threshold >= 1:
        raise InvalidArgumentError(
            "`threshold` must be in [0, 1), a share of the samples. Received:"
            f" threshold={threshold}"
        )
    samples = as_samples(samples, model=model, labels="ignored")
    inputs = model_inputs(model, samples)
    graph = with_declared_inputs(model, samples.x)
    size = graph.inputs[0].shape[0] or batch_size
    plan, measure = compile_plan(graph), ActivityProbe(model, samples.x)
    shared = SharedVariables(plan)
    candidates = [
        _Candidate.examine(plan, shared, measured, threshold) for measured in measure(inputs, size)
    ]
    loss, dead_after = 0.0, {candidate.path: candidate.dead for candidate in candidates}
    if any(candidate.is_revivable for candidate in candidates):
        check = FunctionCheck(model, samples.x)
        _check_steps(model, plan, inputs)
        outputs = _outputs(plan, inputs, size)
        with restored_on_failure(_variables(candidates)):
            candidates = _revive_within_constraints(plan, inputs, size, candidates, seed)
            if all(each.keeps_function for each in candidates if each.is_revivable):
                check.refuse(model, OTHER_WEIGHTS, "Reviving its dead units")
            changed = zip(_outputs(plan, inputs, size), outputs, strict=True)
            loss = float(
                np.mean([theory.relative_error(after, before) for after, before in changed])
            )
            dead_after = {
                measured.site.path: measured.dead_within(threshold)
                for measured in measure(inputs, size)
            }
    return Revival(
        samples=len(inputs[0]),
        threshold=threshold,
        loss=loss,
        sites=(
            *(candidate.record(dead_after[candidate.path]) for candidate in candidates),
            *(_not_seen(path) for path in measure.paths if path not in dead_after),
        ),
    )


def _not_seen(path: str) -> SiteRevival:
    """Return the record of a site that could not be measured."""
    return SiteRevival(
        path=path, units=0, dead_before=0, revived=0, dead_after=0, action="kept: it is not seen"
    )


@dataclass(frozen=True)
class _Candidate:
    """A rectifier whose dead units are to be revived.

    Attributes:
        path: String. Path of the site.
        dead: Boolean array. For each unit, whether it is dead.
        surroundings: `Surroundings` of the rectifier; or the reason why its units can't be
            revived; or None if no unit is dead.
        keeps_function: Boolean. Whether the dead units output 0 on all samples, so that reviving
            them leaves the outputs unchanged.
    """

    path: str
    dead: Array
    surroundings: Surroundings | str | None
    keeps_function: bool

    @classmethod
    def examine(
        cls,
        plan: ExecutionPlan,
        shared: SharedVariables,
        measured: SiteActivity,
        threshold: float,
    ) -> _Candidate:
        dead = measured.dead_within(threshold)
        return cls(
            path=measured.site.path,
            dead=dead,
            surroundings=surroundings_of(plan, shared, measured) if dead.any() else None,
            keeps_function=bool(measured.dead[dead].all()) and measured.site.negative_slope == 0,
        )

    @property
    def is_revivable(self) -> bool:
        return isinstance(self.surroundings, Surroundings)

    def without_breaking(self, variables: Set[int]) -> _Candidate:
        """Return the candidate, not to be revived if it would change any of some variables.

        Args:
            variables: Set of ids of variables whose constraints would be violated.
        """
        around = self.surroundings
        if not isinstance(around, Surroundings):
            return self
        broken = [each for each in around.variables if id(each) in variables]
        if not broken:
            return self
        return replace(self, surroundings=f"the constraint of '{broken[0].path}' would be violated")

    def record(self, dead_after: Array) -> SiteRevival:
        if self.surroundings is None:
            action = "none dead"
        elif isinstance(self.surroundings, str):
            action = f"kept: {self.surroundings}"
        else:
            action = "revived"
        return SiteRevival(
            path=self.path,
            units=self.dead.size,
            dead_before=int(self.dead.sum()),
            revived=int(self.dead.sum()) if self.is_revivable else 0,
            dead_after=int(dead_after.sum()),
            action=action,
        )


def _variables(candidates: Sequence[_Candidate]) -> list[Any]:
    """Return the variables that reviving all candidates changes."""
    return [
        variable
        for candidate in candidates
        if isinstance(candidate.surroundings, Surroundings)
        for variable in candidate.surroundings.variables
    ]


def _revive_within_constraints(
    plan: ExecutionPlan,
    inputs: list[Array],
    size: int,
    candidates: Sequence[_Candidate],
    seed: int,
) -> list[_Candidate]:
    """Revive the candidates whose constraints can hold, and return all candidates.

    Fresh weights are as their constraints make them. But a constraint may forbid the zeros that
    silence a unit (`UnitNorm` of the weights that read it); such units keep their weights.
    """
    candidates = list(candidates)
    variables = _variables(candidates)
    old = SavedWeights(variables)
    held = {id(variable) for variable in variables if satisfies_constraint(variable)}
    while any(candidate.is_revivable for candidate in candidates):
        _refresh(plan, inputs, size, candidates, seed)
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
    candidates: Sequence[_Candidate],
    seed: int,
) -> None:
    """Assign fresh weights to the dead units of some rectifiers, and centre the units."""
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
    # No fresh unit reads another fresh unit now, so one pass measures them all.
    statistics = _output_statistics(plan, inputs, size, [around for around, _ in chosen])
    for surroundings, units in chosen:
        sums = statistics[id(surroundings.producer.operation)]
        mean = sums.total / sums.count
        surroundings.centre(
            units, mean, np.maximum(sums.squares / sums.count - np.square(mean), 0.0)
        )


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


def _check_steps(model: keras.Model, plan: ExecutionPlan, inputs: list[Array]) -> None:
    """Check that the steps of a plan compute what the model predicts, on a few samples.

    Raises:
        ConversionError: They compute something else.
    """
    batch = first_batch(model, inputs)
    reason = steps_difference(model, plan, batch)
    if reason and not is_random(model, batch):
        raise ConversionError(
            f"Model '{model.name}' predicts something else than its layers compute one by one"
            f" ({reason}), so its units can't be revived."
        )


def _executed_steps(plan: ExecutionPlan, inputs: list[Array], size: int) -> Iterator[ExecutedStep]:
    with state_kept(*(step.operation for step in plan.steps)):
        for batch in batches(inputs, size):
            yield from iterate_steps(plan, [keras.ops.convert_to_tensor(array) for array in batch])


def _outputs(plan: ExecutionPlan, inputs: list[Array], size: int) -> list[Array]:
    """Return the outputs of a model on all samples, with one array for each output."""
    with state_kept(*(step.operation for step in plan.steps)):
        rows = [
            [*map(to_float64, run_plan(plan, [*map(keras.ops.convert_to_tensor, batch)]))]
            for batch in batches(inputs, size)
        ]
    columns = zip(*rows, strict=True)
    return [np.concatenate(column) for column in columns]
