"""Reviving dead units so that training can use them, with the function kept (claim 2).

A ReLU unit that is positive on no sample outputs 0 and gets no gradient, so training can't
reactivate it. Its incoming weights are redrawn, its bias is set so that its pre-activation is
centred on the samples, and the weights that read it become 0. The outputs of the network do not
change, and in the first training step the outgoing weights get a gradient again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.data.samples import as_samples, batches, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan, compile_plan
from keras_prelu.graph.saved_weights import restored_on_failure
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.revival.candidates import Candidate, changed_entries, variables_around
from keras_prelu.revival.fresh_weights import allowed_by_constraints, refresh_within_constraints
from keras_prelu.revival.optimizer_state import renew_copies
from keras_prelu.revival.records import ChangedEntries, DeadUnits, Revival, SiteRevival
from keras_prelu.sites.activity import ActivityProbe
from keras_prelu.sites.dead_units import NEARLY_DEAD
from keras_prelu.typing import Array
from keras_prelu.utils.checks import check_number
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS
from keras_prelu.verification.probes import first_batch
from keras_prelu.verification.same_function import FunctionCheck
from keras_prelu.verification.steps import is_random, steps_difference

__all__ = ["RevivedUnits", "Reviver", "check_threshold", "find_dead_units", "revive"]


def revive(
    model: keras.Model,
    samples: Any,
    *,
    threshold: float = NEARLY_DEAD,
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

    The state of the model's optimizer stays, but for copies of the weights (moving averages, the
    points of a schedule-free optimizer), from which the next `fit` would assign the old ones.

    Args:
        model: `keras.Model`. Sequential or Functional; ReLU or PReLU. It is changed. A unit is
            revived if a linear layer of its own writes it (a BatchNormalization may follow) and
            only linear layers read it, through poolings and the like. Other units are kept, with
            the reason; so are those around frozen layers, around layers that share their weights,
            those whose activity is regularized, and those for which a constraint of a weight would
            be violated.
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
    check_threshold(threshold)
    revived = Reviver(model, samples, threshold=threshold, batch_size=batch_size)(seed)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        renew_copies(optimizer, revived.changed)
    return revived.record


def find_dead_units(
    model: keras.Model, samples: Any, *, threshold: float = NEARLY_DEAD, batch_size: int = 128
) -> tuple[DeadUnits, ...]:
    """Return the dead units of each rectifier that is seen, and whether `revive` would revive them.

    That takes one pass over the samples, and changes nothing.

    Args:
        model: `keras.Model`, as in `revive`.
        samples: Unlabeled samples, as in `revive`.
        threshold: Float, as in `revive`. Defaults to 0.01.
        batch_size: Integer, as in `revive`. Defaults to 128.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
    """
    return Reviver(model, samples, threshold=threshold, batch_size=batch_size).find()


def check_threshold(threshold: Any) -> None:
    """Raise an `InvalidArgumentError` unless a threshold is a share of the samples below 1."""
    check_number("threshold", threshold, minimum=0.0)
    if threshold >= 1:
        raise InvalidArgumentError(
            "`threshold` must be in [0, 1), a share of the samples. Received:"
            f" threshold={threshold}"
        )


@dataclass(frozen=True)
class RevivedUnits:
    """The record of a revival, and what it changed.

    Attributes:
        record: `Revival`.
        changed: Tuple of `ChangedEntries`, one for each variable that was changed.
    """

    record: Revival
    changed: tuple[ChangedEntries, ...]


class Reviver:
    """Revives the dead units of a model whenever it is called; its weights may change in between.

    Dead units are counted by a function that is compiled once.

    Args:
        model: `keras.Model`, as in `revive`.
        samples: Unlabeled samples, as in `revive`.
        threshold: Float, as in `revive`.
        batch_size: Integer, as in `revive`. Defaults to 128.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
    """

    @on_large_graphs
    def __init__(
        self, model: keras.Model, samples: Any, *, threshold: float, batch_size: int = 128
    ) -> None:
        data = as_samples(samples, model=model, labels="ignored")
        graph = with_declared_inputs(model, data.x)
        self._model, self._threshold = model, threshold
        self._x, self._inputs = data.x, model_inputs(model, data)
        self._batch_size = graph.inputs[0].shape[0] or batch_size
        self._plan = compile_plan(graph)
        self._shared = SharedVariables(self._plan)
        self._measure = ActivityProbe(model, data.x)

    @on_large_graphs
    def __call__(self, seed: int) -> RevivedUnits:
        """Revive the units that are dead now; the fresh weights are drawn by a seed.

        Raises:
            ConversionError: As in `revive`.
        """
        candidates = self._examined()
        loss, dead_after = 0.0, {candidate.path: candidate.dead for candidate in candidates}
        if any(candidate.is_revivable for candidate in candidates):
            outputs = _outputs(self._plan, self._inputs, self._batch_size)
            candidates = self._refreshed(candidates, seed)
            loss = self._loss(outputs)
            dead_after = {
                measured.site.path: measured.dead_within(self._threshold)
                for measured in self._measure(self._inputs, self._batch_size)
            }
        record = Revival(
            samples=len(self._inputs[0]),
            threshold=self._threshold,
            loss=loss,
            sites=(
                *(candidate.record(dead_after[candidate.path]) for candidate in candidates),
                *(_not_seen(path) for path in self._measure.paths if path not in dead_after),
            ),
        )
        return RevivedUnits(record=record, changed=changed_entries(candidates))

    @on_large_graphs
    def find(self) -> tuple[DeadUnits, ...]:
        """Find the units that are dead now, and which of them can be revived."""
        return tuple(each.found() for each in allowed_by_constraints(self._examined()))

    def _examined(self) -> list[Candidate]:
        return [
            Candidate.examine(self._plan, self._shared, measured, self._threshold)
            for measured in self._measure(self._inputs, self._batch_size)
        ]

    def _refreshed(self, candidates: list[Candidate], seed: int) -> list[Candidate]:
        """Assign fresh weights, checked, and return the candidates as they were treated."""
        check = FunctionCheck(self._model, self._x)
        _check_steps(self._model, self._plan, self._inputs)
        with restored_on_failure(variables_around(candidates)):
            candidates = refresh_within_constraints(
                self._plan, self._inputs, self._batch_size, candidates, seed
            )
            if all(each.keeps_function for each in candidates if each.is_revivable):
                check.refuse(self._model, OTHER_WEIGHTS, "Reviving its dead units")
        return candidates

    def _loss(self, outputs: list[Array]) -> float:
        """Return the relative change of the model's outputs on the samples."""
        changed = zip(_outputs(self._plan, self._inputs, self._batch_size), outputs, strict=True)
        return float(np.mean([theory.relative_error(after, before) for after, before in changed]))


def _not_seen(path: str) -> SiteRevival:
    """Return the record of a site that could not be measured."""
    return SiteRevival(
        path=path, units=0, dead_before=0, revived=0, dead_after=0, action="kept: it is not seen"
    )


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


def _outputs(plan: ExecutionPlan, inputs: list[Array], size: int) -> list[Array]:
    """Return the outputs of a model on all samples, with one array for each output."""
    with state_kept(*(step.operation for step in plan.steps)):
        rows = [
            [*map(to_float64, run_plan(plan, [*map(keras.ops.convert_to_tensor, batch)]))]
            for batch in batches(inputs, size)
        ]
    columns = zip(*rows, strict=True)
    return [np.concatenate(column) for column in columns]
