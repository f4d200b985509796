"""Layerwise calibration: one sweep through both models that refits each linear layer.

The sweep propagates the activations of all samples.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.variables import snapshot
from keras_prelu.calibration.activation_store import (
    Activations,
    ActivationStore,
    Recipe,
    size_in_bytes,
)
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.design import Assignment, Intercept
from keras_prelu.calibration.inner_layers import (
    InnerLayer,
    has_linear_layers,
    inputs_during,
    is_spectrally_normalized,
)
from keras_prelu.calibration.layer_fit import Fit, fit_layer
from keras_prelu.calibration.layer_rows import InputPair
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.out_of_memory import naming_layer
from keras_prelu.calibration.records import Calibration, LayerCalibration
from keras_prelu.calibration.samples import (
    CalibrationSamples,
    SampleSplit,
    fixed_batch_size,
    split_samples,
)
from keras_prelu.data.samples import batches
from keras_prelu.errors import CalibrationError, KerasPReLUWarning
from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.interpreter import Liveness
from keras_prelu.graph.layer_kinds import is_plain_call
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.model_state import state_kept, state_of, states_equal
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.layers import PReLU
from keras_prelu.theory import relative_error
from keras_prelu.typing import Tensor

__all__ = ["LayerwiseCalibrator", "Progress"]


_MOST_STEPS = 8
"""The largest number of steps to repeat whenever a tensor is read that is not stored."""
_SHARED = "it shares its weights with another layer"
Progress = Callable[[int, int], None]
"""A function that is called with (steps done, steps in total)."""


class LayerwiseCalibrator:
    """Calibrator of a pair of models on the same samples, which can run repeatedly.

    Args:
        pair: `ModelPair`. The models.
        samples: `CalibrationSamples`. The samples.
        config: `CalibrationConfig`. The settings.

    Attributes:
        batch_size: Integer. Samples in a batch.
        split: `SampleSplit`. The division into samples that fit and samples that are held out.
    """

    def __init__(
        self, pair: ModelPair, samples: CalibrationSamples, config: CalibrationConfig
    ) -> None:
        self._pair = pair
        self._config = config
        self._memory = plan_memory(pair, samples.arrays, config)
        self.batch_size: int = self._memory.batch_size
        self.split: SampleSplit = split_samples(
            len(samples), self.batch_size, config.seed, block=fixed_batch_size(pair.converted)
        )
        self._inputs = samples.arrays
        if self.split.exchange is not None:
            self._inputs = [array[self.split.is_local] for array in samples.arrays]

    def run(self, on_step: Progress | None = None) -> Calibration:
        """Refit the converted model in its current state, in place.

        If an exception or an interrupt occurs, the model gets its old weights back: half of a
        calibration is worse than none.
        """
        with without_gradients(), ActivationStore(self._memory.activations) as store:
            values = _PairedValues(self._pair.plan, self._inputs, self.batch_size, store)
            sweep = _Sweep(
                self._pair, self._config, self.split, values, on_step or _ignore_progress
            )
            try:
                return self._judge(sweep, self._outputs(sweep, values, store))
            except BaseException:
                sweep.undo()
                raise

    def _outputs(
        self, sweep: _Sweep, values: _PairedValues, store: ActivationStore
    ) -> _HeldOutOutputs:
        """Run a sweep, and return the outputs on held-out samples."""
        held_out, plan = self.split.local_held_out, self._pair.plan
        if fixed_batch_size(self._pair.converted) > 1:  # Batches may build on those before them.
            all_outputs = _run_to_outputs(plan, self._inputs, self.batch_size, store)
            before = [array[held_out] for array in all_outputs]
        else:
            held_out_inputs = [array[held_out] for array in self._inputs]
            before = _run_to_outputs(plan, held_out_inputs, self.batch_size, store)
        sweep.run()
        return _HeldOutOutputs(
            before=before,
            after=[_to_array(values.converted.of(slot))[held_out] for slot in plan.outputs],
            targets=[_to_array(values.original.of(slot))[held_out] for slot in plan.outputs],
        )

    def _judge(self, sweep: _Sweep, outcome: _HeldOutOutputs) -> Calibration:
        """Undo a sweep that made the outputs worse, and return the record."""
        if self.split.exchange is not None:
            outcome = outcome.gathered(self.split.exchange.gather_rows)
        error_before = _output_error(outcome.before, outcome.targets)
        error_after = _output_error(outcome.after, outcome.targets)
        _check_finite(outcome.targets, error_before, error_after)
        kept = error_after <= error_before or not np.isfinite(error_before)
        if not kept:
            sweep.undo()
        return Calibration(
            samples=self.split.total,
            held_out=len(outcome.targets[0]),
            error_before=error_before,
            error_after=error_after if kept else error_before,
            kept=kept,
            layers=tuple(sweep.records.values()),
        )


def _ignore_progress(done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class _HeldOutOutputs:
    """The outputs on held-out samples.

    Attributes:
        before: List of arrays. Outputs of the converted model before its layers are refitted.
        after: List of arrays. Outputs of the converted model afterwards.
        targets: List of arrays. Outputs of the original.
    """

    before: list[np.ndarray]
    after: list[np.ndarray]
    targets: list[np.ndarray]

    def gathered(self, gather_rows: Callable[[np.ndarray], np.ndarray]) -> _HeldOutOutputs:
        """Return the outputs on the held-out samples of all hosts."""
        return _HeldOutOutputs(
            before=[gather_rows(output) for output in self.before],
            after=[gather_rows(output) for output in self.after],
            targets=[gather_rows(output) for output in self.targets],
        )


class _Sweep:
    """One calibration, which refits the layers in the order in which their inputs become known.

    Attributes:
        records: Dict from path to `LayerCalibration`.
    """

    def __init__(
        self,
        pair: ModelPair,
        config: CalibrationConfig,
        split: SampleSplit,
        values: _PairedValues,
        on_step: Progress,
    ) -> None:
        self.records: dict[str, LayerCalibration] = {}
        self._pair = pair
        self._config = config
        self._split = split
        self._values = values
        self._on_step = on_step
        self._shared = SharedVariables(pair.plan)
        self._treated: set[int] = set()  # Ids of layers that are refitted or keep their weights.
        self._old_values: list[Assignment] = []

    def run(self) -> None:
        """Refit the layers of the converted model."""
        pending = list(self._pair.plan.steps)
        while pending:
            if not self._advance_all(pending):
                self._give_up_on_shared(pending)

    def undo(self) -> None:
        """Restore the old values of all variables."""
        for old in reversed(self._old_values):
            old.variable.assign(old.value)

    def _advance_all(self, pending: list[Step]) -> bool:
        """Execute each step whose inputs are known, and return whether there was such a step.

        A layer that is called several times waits for the inputs of all its calls, to be fitted to
        all of them.
        """
        advanced, total = False, len(self._pair.plan.steps)
        for step in list(pending):
            with naming_layer(step.path):
                if not self._treat(step, pending):
                    continue
                self._values.advance(step, self._pair)
            pending.remove(step)
            advanced = True
            self._on_step(total - len(pending), total)
        return advanced

    def _treat(self, step: Step, pending: Sequence[Step]) -> bool:
        """Refit the layer of a step if it is linear or contains linear layers.

        Return False if the inputs for this are not known yet.
        """
        is_treated = id(step.operation) in self._treated
        view = None if is_treated else linear_view(step.operation)
        contains_linear = not is_treated and view is None and has_linear_layers(step.operation)
        calls = [step]
        if view is not None or contains_linear:
            calls = [other for other in pending if other.operation is step.operation]
        if not all(map(self._values.are_known, calls)):
            return False
        if view is not None:
            self._refit_layer(view, calls)
        elif contains_linear:
            self._refit_inner_layers(calls)
        elif not is_treated and _has_weight_matrix(step) and self._values.differ(step):
            self._keep(step, "layers of its kind are not refitted")
        return True

    def _give_up_on_shared(self, pending: Sequence[Step]) -> None:
        """Keep the weights of a shared layer whose later call depends on its earlier call.

        No step could be executed otherwise.
        """
        step = next(step for step in pending if self._values.are_known(step))
        self._keep(step, "its later calls depend on its earlier ones")

    def _refit_layer(self, view: LinearView, calls: Sequence[Step]) -> None:
        step = calls[0]
        if not any(map(self._values.differ, calls)):
            self._keep(step, "its input is unchanged")
            return
        if not step.operation.trainable and not self._config.refit_frozen:
            self._keep(step, "it is frozen")
            return
        if self._shared.contains_any(step.operation.variables):
            self._keep(step, _SHARED)
            return
        self._treated.add(id(step.operation))
        self._refit(
            step.path,
            view,
            linear_view(self._pair.counterpart(step)),
            [self._values.inputs_of(call) for call in calls],
            _normalization_after(self._pair.plan, step) if len(calls) == 1 else None,
        )

    def _refit_inner_layers(self, calls: Sequence[Step]) -> None:
        """Refit the linear layers inside a layer with Python code of its own, one after the other.

        They are refitted on the inputs that they get while that code runs.
        """
        step = calls[0]
        self._treated.add(id(step.operation))
        if not any(map(self._values.differ, calls)) and self._pair.computes_the_same(step):
            return
        first_batch = self._values.original.batch(step, 0)
        for inner in self._pair.inner_layers(step, first_batch):
            self._refit_inner_layer(f"{step.path}/{inner.layer.name}", inner, calls)

    def _refit_inner_layer(self, path: str, inner: InnerLayer, calls: Sequence[Step]) -> None:
        obstacle = inner.obstacle
        if not inner.layer.trainable and not self._config.refit_frozen:
            obstacle = "it is frozen"
        if obstacle:
            self._record(path, inner.layer, Fit(reason=obstacle))
            return
        if self._shared.contains_any(inner.layer.variables):
            self._record(path, inner.layer, Fit(reason=_SHARED))
            return
        if is_spectrally_normalized(inner.layer, calls[0].operation):
            reason = "SpectralNormalization replaces its kernel in training"
            self._record(path, inner.layer, Fit(reason=reason))
            return
        outer, original_outer = calls[0].operation, self._pair.counterpart(calls[0])
        originals = self._values.original.inner_inputs(calls, original_outer, inner.counterpart)
        converted = self._values.converted.inner_inputs(calls, outer, inner.layer)
        samples = len(self._split.local_held_out)
        activations = [*originals, *converted]
        if len(originals) != len(converted) or any(each.samples != samples for each in activations):
            self._record(
                path, inner.layer, Fit(reason="its inputs do not belong to one sample each")
            )
        else:
            view, counterpart = linear_view(inner.layer), linear_view(inner.counterpart)
            pairs = [
                InputPair(original=one, converted=other)
                for one, other in zip(originals, converted, strict=True)
            ]
            self._refit(path, view, counterpart, pairs, inner.normalization)
        for each in activations:
            self._values.store.discard(each)

    def _refit(
        self,
        path: str,
        view: LinearView | None,
        counterpart: LinearView | None,
        calls: Sequence[InputPair],
        normalization: Any,
    ) -> None:
        assert view is not None
        assert counterpart is not None
        intercept = Intercept.of_layer(view, normalization)
        fit = fit_layer(
            view,
            counterpart,
            calls,
            intercept,
            self._config,
            self._split,
            self._values.store.make_room,
        )
        for new in fit.assignments:
            variable = new.variable
            self._old_values.append(Assignment(variable=variable, value=snapshot(variable)))
            variable.assign(new.value.reshape(variable.shape))
        self._record(path, view.layer, fit)

    def _keep(self, step: Step, reason: str) -> None:
        self._treated.add(id(step.operation))
        self._record(step.path, step.operation, Fit(reason=reason))

    def _record(self, path: str, layer: Any, fit: Fit) -> None:
        self.records[path] = LayerCalibration(
            path=path,
            layer=type(layer).__name__,
            rows=fit.rows,
            unknowns=fit.unknowns,
            ridge=fit.ridge,
            error_before=fit.error_before,
            error_after=fit.error_after,
            action=f"kept: {fit.reason}" if fit.reason else "refitted",
        )


class _Values:
    """The activations of one model, by slot of the plan.

    Args:
        store: `ActivationStore` that holds the activations.
        inputs: Dict from `Slot` to `Activations`. The samples.
    """

    def __init__(self, store: ActivationStore, inputs: dict[Slot, Activations]) -> None:
        self._store = store
        self._activations = dict(inputs)

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._activations

    def of(self, slot: Slot) -> Activations:
        return self._activations[slot]

    def set_outputs(self, step: Step, outputs: Sequence[Activations]) -> None:
        self._activations.update(zip(step.outputs, outputs, strict=True))

    def execute(self, step: Step, operation: Any) -> list[Activations]:
        """Return the outputs of a step, computed by an operation batch by batch.

        Every pass starts from the state that the operation has outside of it.
        """
        with state_kept(operation):
            state = state_of(operation)
            first = step.execute(self.batch(step, 0), operation)
            if not self._have_room(first, step) and states_equal(state, state_of(operation)):
                recipe = self._recipe(step, operation)
                if _is_cheap(recipe) and len(first) == 1:
                    return [self._store.computed(recipe)]
            others = (
                step.execute(self.batch(step, index), operation)
                for index in range(1, self._batch_count(step))
            )
            return self._collect(itertools.chain([first], others))

    def _have_room(self, tensors: Sequence[Tensor], step: Step) -> bool:
        """Return whether there is room for a step's outputs, given those for its first batch."""
        return self._store.has_room(self._batch_count(step) * sum(map(size_in_bytes, tensors)))

    def _recipe(self, step: Step, operation: Any) -> Recipe:
        sources = {slot: self._activations[slot] for slot in step.inputs}
        recipes = [source.recipe for source in sources.values() if source.recipe is not None]

        def compute(index: int) -> Tensor:
            values = {slot: source[index] for slot, source in sources.items()}
            with state_kept(operation):
                (output,) = step.execute(values, operation)
            return output

        return Recipe(
            compute=compute,
            sources=tuple(sources.values()),
            steps=1 + sum(recipe.steps for recipe in recipes),
            heavy_steps=_has_weight_matrix(step) + sum(recipe.heavy_steps for recipe in recipes),
        )

    def inner_inputs(self, calls: Sequence[Step], outer: Any, inner: Any) -> list[Activations]:
        """Return the inputs of each call of an inner layer while the outer layer is called.

        Args:
            calls: Sequence of `Step`. The calls of the outer layer.
            outer: Layer that is called.
            inner: Layer inside `outer`.
        """
        return [
            activations for call in calls for activations in self._inner_inputs(call, outer, inner)
        ]

    def _inner_inputs(self, call: Step, outer: Any, inner: Any) -> list[Activations]:
        collected: list[Activations] = []
        with state_kept(outer):
            for index in range(self._batch_count(call)):
                batch = self.batch(call, index)
                tensors = inputs_during(functools.partial(call.execute, batch, outer), inner)
                # Code may call a layer more often on some batches than on others.
                collected += [Activations() for _ in tensors[len(collected) :]]
                for activations, tensor in zip(collected, tensors, strict=False):
                    self._store.add(activations, tensor)
        return collected

    def batch(self, step: Step, index: int) -> dict[Slot, Tensor]:
        """Return the tensors that a step reads for one batch."""
        return {slot: self._activations[slot][index] for slot in step.inputs}

    def discard(self, slots: Iterable[Slot]) -> None:
        """Free the activations of some slots."""
        for slot in slots:
            if slot in self._activations:
                self._store.discard(self._activations.pop(slot))

    def _batch_count(self, step: Step) -> int:
        return len(self._activations[step.inputs[0]])

    def _collect(self, batches_of_tensors: Iterable[Sequence[Tensor]]) -> list[Activations]:
        """Store tensors that arrive batch by batch, and return the activations of each tensor."""
        collected: list[Activations] = []
        for tensors in batches_of_tensors:
            collected = collected or [Activations() for _ in tensors]
            for activations, tensor in zip(collected, tensors, strict=True):
                self._store.add(activations, tensor)
        return collected


class _PairedValues:
    """The activations of both models; where they can't differ, both share the same `Activations`.

    Attributes:
        original: `_Values` of the original model.
        converted: `_Values` of the converted model.
        store: `ActivationStore` that holds the activations.
    """

    def __init__(
        self,
        plan: ExecutionPlan,
        inputs: Sequence[np.ndarray],
        batch_size: int,
        store: ActivationStore,
    ) -> None:
        samples = _input_activations(plan, inputs, batch_size, store)
        self.store = store
        self.original, self.converted = _Values(store, samples), _Values(store, samples)
        self._liveness = Liveness(plan)

    def are_known(self, step: Step) -> bool:
        """Return whether all inputs of a step are computed."""
        return all(slot in self.converted for slot in step.inputs)

    def differ(self, step: Step) -> bool:
        """Return whether the inputs of a step differ between the two models."""
        return any(self.original.of(slot) is not self.converted.of(slot) for slot in step.inputs)

    def inputs_of(self, step: Step) -> InputPair:
        """Return the inputs of a step with one input, in both models."""
        slot = step.inputs[0]
        return InputPair(original=self.original.of(slot), converted=self.converted.of(slot))

    def advance(self, step: Step, pair: ModelPair) -> None:
        """Compute the outputs of a step in both models, only once if they can't differ."""
        outputs = self.converted.execute(step, step.operation)
        if not self.differ(step) and pair.computes_the_same(step):
            original_outputs = outputs
        else:
            original_outputs = self.original.execute(step, pair.counterpart(step))
        self.converted.set_outputs(step, outputs)
        self.original.set_outputs(step, original_outputs)
        released = self._liveness.release(step)
        self.converted.discard(released)
        self.original.discard(released)


def _input_activations(
    plan: ExecutionPlan, inputs: Sequence[np.ndarray], batch_size: int, store: ActivationStore
) -> dict[Slot, Activations]:
    columns = zip(*batches(inputs, batch_size), strict=True)
    return {slot: store.wrap(arrays) for slot, arrays in zip(plan.inputs, columns, strict=True)}


def _run_to_outputs(
    plan: ExecutionPlan, inputs: Sequence[np.ndarray], batch_size: int, store: ActivationStore
) -> list[np.ndarray]:
    """Return the outputs of a model, computed step by step and not batch by batch.

    This makes them comparable bit for bit with the outputs of a sweep.
    """
    values = _Values(store, _input_activations(plan, inputs, batch_size, store))
    liveness = Liveness(plan)
    for step in plan.steps:
        values.set_outputs(step, values.execute(step, step.operation))
        values.discard(liveness.release(step))
    outputs = [_to_array(values.of(slot)) for slot in plan.outputs]
    values.discard(plan.outputs)
    return outputs


def _is_cheap(recipe: Recipe) -> bool:
    """Return whether computing a tensor for each reader costs less than writing it to a file."""
    return recipe.heavy_steps <= 1 and recipe.steps <= _MOST_STEPS


def _has_weight_matrix(step: Step) -> bool:
    """Return whether the layer of a step has weights that a refit might change."""
    if isinstance(step.operation, PReLU):
        return False
    return any(len(variable.shape) > 1 for variable in getattr(step.operation, "weights", []))


def _normalization_after(plan: ExecutionPlan, step: Step) -> Any:
    """Return the BatchNormalization after a layer, or None.

    It must be called once and be the only reader of the layer's output.
    """
    reader = plan.sole_reader(step.outputs[0])
    if reader is None or plan.call_count(reader.operation) != 1:
        return None
    is_normalization = is_batch_normalization(reader.operation) and is_plain_call(reader)
    return reader.operation if is_normalization else None


def _to_array(activations: Activations) -> np.ndarray:
    """Return the activations of all samples in float64."""
    return np.concatenate(
        [keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32")) for batch in activations]
    ).astype(np.float64)


def _output_error(outputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Return the relative error of a model's outputs, averaged over several outputs."""
    errors = [
        relative_error(output, target) for output, target in zip(outputs, targets, strict=True)
    ]
    return float(np.mean(errors))


def _check_finite(targets: Sequence[np.ndarray], *errors: float) -> None:
    """Refuse a model whose outputs are not finite where its original's are.

    Raises:
        CalibrationError: None of the errors is finite, but the targets are.
    """
    if not all(np.isfinite(target).all() for target in targets):
        warnings.warn(
            "The outputs of the original are not finite on some calibration samples.",
            KerasPReLUWarning,
            stacklevel=6,
        )
    elif not np.isfinite(errors).any():
        raise CalibrationError(
            "The outputs of the converted model are not finite on held-out samples, before or after"
            " calibration. Convert with smaller slopes (alpha), or fewer sites (exclude)."
        )
