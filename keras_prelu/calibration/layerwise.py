"""Calibration's one pass through both models: it carries the activations of all samples along and
refits each linear layer on its way."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.variables import snapshot
from keras_prelu.calibration.activation_store import Activations, Store
from keras_prelu.calibration.custom_layers import holds_linear, inner_layers, watch
from keras_prelu.calibration.layer_fit import Fit, FitOptions, Intercept, fit_layer
from keras_prelu.calibration.model_pair import References
from keras_prelu.calibration.records import Calibration, LayerCalibration
from keras_prelu.data.samples import batches
from keras_prelu.errors import KerasPReLUWarning
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.plan import Slot, Step, compile_program, count_readers, execute
from keras_prelu.layers import PReLU
from keras_prelu.theory import relative_error

__all__ = ["Progress", "Sweep"]

Progress = Callable[[int, int], None]


class Sweep:
    """One pass over the converted model's steps. Each slot has two values: the original's
    activations and the converted's."""

    def __init__(
        self,
        converted: keras.Model,
        original: keras.Model,
        options: FitOptions,
        *,
        refit_frozen: bool,
        batch_size: int,
        memory_limit: float,
    ) -> None:
        self._options = options
        self._refit_frozen = refit_frozen
        self._batch_size = batch_size
        self._store = Store(memory_limit)
        self._program = compile_program(converted)
        self._references = References(self._program, original)
        self._original: dict[Slot, Activations] = {}
        self._converted: dict[Slot, Activations] = {}
        self._readers: dict[Slot, int] = {}
        self._count = 0
        self._done: set[int] = set()
        self._records: dict[str, LayerCalibration] = {}
        self._undo: list[tuple[Any, np.ndarray]] = []

    def run(self, inputs: list[np.ndarray], on_step: Progress) -> Calibration:
        with self._store:
            return self._calibrate(inputs, on_step)

    def _calibrate(self, inputs: list[np.ndarray], on_step: Progress) -> Calibration:
        held_out, exchange = self._options.held_out, self._options.exchange
        before = self._uncalibrated_outputs([array[held_out] for array in inputs])
        self._feed(inputs)
        waiting = list(self._program.steps)
        total = len(waiting)
        while waiting:
            if not self._pass(waiting, on_step, total):
                self._give_up_on_shared(waiting)
        targets, after = (
            [_joined(values[slot])[held_out] for slot in self._program.outputs]
            for values in (self._original, self._converted)
        )
        if exchange is not None:
            before, targets, after = (
                [exchange.gather_rows(output) for output in outputs]
                for outputs in (before, targets, after)
            )
        error_before = _output_error(before, targets)
        error_after = _output_error(after, targets)
        kept = error_after <= error_before
        if not kept:
            self.undo()
        return Calibration(
            samples=self._options.samples,
            held_out=len(targets[0]),
            error_before=error_before,
            error_after=error_after if kept else error_before,
            kept=kept,
            layers=tuple(self._records.values()),
        )

    def undo(self) -> None:
        """Give all variables the values they had."""
        for variable, value in reversed(self._undo):
            variable.assign(value)

    def _uncalibrated_outputs(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The converted model's outputs before anything is refitted."""
        self._feed(inputs)
        for step in self._program.steps:
            self._converted.update(zip(step.outputs, self._run(step, self._converted), strict=True))
            self._release(step)
        outputs = [_joined(self._converted[slot]) for slot in self._program.outputs]
        for slot in list(self._converted):
            self._store.discard(self._converted.pop(slot))
        return outputs

    def _feed(self, inputs: list[np.ndarray]) -> None:
        """Begin anew with the samples in the input slots."""
        columns = zip(*batches(inputs, self._batch_size), strict=True)
        values = {
            slot: self._store.view(list(arrays))
            for slot, arrays in zip(self._program.inputs, columns, strict=True)
        }
        self._count = -(-len(inputs[0]) // self._batch_size)
        self._original, self._converted = dict(values), dict(values)
        self._readers = count_readers(self._program)

    def _pass(self, waiting: list[Step], on_step: Progress, total: int) -> bool:
        """Run every step that can run now. A layer called at several places waits for all its
        inputs, to be fitted to all."""
        progressed = False
        for step in list(waiting):
            done = id(step.operation) in self._done
            view = None if done else linear_view(step.operation)
            holds = not done and view is None and holds_linear(step.operation)
            uses = (
                [use for use in waiting if use.operation is step.operation]
                if view or holds
                else [step]
            )
            if not all(slot in self._converted for use in uses for slot in use.inputs):
                continue
            if view is not None:
                self._calibrate_layer(view, uses)
            elif holds:
                self._calibrate_inside(uses)
            elif self._has_matrix(step) and self._changed([step]):
                self._keep(step, "layers of its kind are not refitted")
            self._advance(step)
            waiting.remove(step)
            progressed = True
            on_step(total - len(waiting), total)
        return progressed

    def _give_up_on_shared(self, waiting: list[Step]) -> None:
        """No step can run: a shared layer's later call depends on its earlier one. Keep that
        layer's weights."""
        step = next(
            step for step in waiting if all(slot in self._converted for slot in step.inputs)
        )
        self._keep(step, "its later calls depend on its earlier ones")

    def _calibrate_layer(self, view: LinearView, uses: Sequence[Step]) -> None:
        step = uses[0]
        if not self._changed(uses):
            self._keep(step, "its input is unchanged")
            return
        if not step.operation.trainable and not self._refit_frozen:
            self._keep(step, "it is frozen")
            return
        inputs = [(self._original[use.inputs[0]], self._converted[use.inputs[0]]) for use in uses]
        normalization = self._next_normalization(step) if len(uses) == 1 else None
        self._done.add(id(step.operation))
        self._refit(step.path, view, linear_view(self._references.get(step)), inputs, normalization)

    def _calibrate_inside(self, uses: Sequence[Step]) -> None:
        """Refit the linear layers inside a layer with Python code of its own, one after the other,
        on what reaches them as it runs."""
        step, holder = uses[0], uses[0].operation
        reference = self._references.get(step)
        self._done.add(id(holder))
        if not self._changed(uses) and self._references.same_function(step):
            return
        for item in inner_layers(
            holder,
            reference,
            lambda: execute(step, self._batch(self._original, step, 0), reference),
        ):
            path = f"{step.path}/{item.layer.name}"
            if not item.layer.trainable and not self._refit_frozen:
                self._note(path, item.layer, Fit.none("it is frozen"))
                continue
            inputs = list(
                zip(
                    self._watch(item.reference, uses, self._original, reference),
                    self._watch(item.layer, uses, self._converted, holder),
                    strict=True,
                )
            )
            if any(
                activations.samples != len(self._options.held_out)
                for pair in inputs
                for activations in pair
            ):
                self._note(
                    path, item.layer, Fit.none("its inputs do not belong to one sample each")
                )
            else:
                self._refit(
                    path,
                    linear_view(item.layer),
                    linear_view(item.reference),
                    inputs,
                    item.normalization,
                )
            for activations in itertools.chain.from_iterable(inputs):
                self._store.discard(activations)

    def _watch(
        self, layer: Any, uses: Sequence[Step], values: Mapping[Slot, Activations], holder: Any
    ) -> list[Activations]:
        """The inputs of a layer inside a holder, batch by batch, for each of its calls."""
        calls: list[Activations] = []
        for use in uses:
            calls += self._collected(
                watch(layer, partial(execute, use, self._batch(values, use, i), holder))
                for i in range(self._count)
            )
        return calls

    def _refit(
        self,
        path: str,
        view: LinearView | None,
        reference: LinearView | None,
        inputs: list[tuple[Activations, Activations]],
        normalization: Any,
    ) -> None:
        assert view is not None
        assert reference is not None
        fit = fit_layer(view, reference, inputs, Intercept.of(view, normalization), self._options)
        for variable, value in fit.assignments:
            self._undo.append((variable, snapshot(variable)))
            variable.assign(value.reshape(variable.shape))
        self._note(path, view.layer, fit)

    def _changed(self, uses: Sequence[Step]) -> bool:
        """Whether a layer gets other inputs in the converted model than in the original."""
        return any(
            self._original[slot] is not self._converted[slot] for use in uses for slot in use.inputs
        )

    def _has_matrix(self, step: Step) -> bool:
        """Whether a layer that was not looked at yet has weights that a refit might change."""
        if id(step.operation) in self._done or isinstance(step.operation, PReLU):
            return False
        return any(len(variable.shape) > 1 for variable in getattr(step.operation, "weights", []))

    def _keep(self, step: Step, reason: str) -> None:
        self._done.add(id(step.operation))
        self._note(step.path, step.operation, Fit.none(reason))

    def _note(self, path: str, layer: Any, fit: Fit) -> None:
        action = f"kept: {fit.reason}" if fit.reason else "refitted"
        self._records[path] = LayerCalibration(
            path,
            type(layer).__name__,
            fit.rows,
            fit.unknowns,
            fit.ridge,
            fit.error_before,
            fit.error_after,
            action,
        )

    def _advance(self, step: Step) -> None:
        """Compute a step's outputs in both models; where they can't differ, once."""
        converted = self._run(step, self._converted)
        if not self._changed([step]) and self._references.same_function(step):
            original = converted
        else:
            original = self._run(step, self._original, self._references.get(step))
        self._converted.update(zip(step.outputs, converted, strict=True))
        self._original.update(zip(step.outputs, original, strict=True))
        self._release(step)

    def _run(
        self, step: Step, values: Mapping[Slot, Activations], operation: Any = None
    ) -> list[Activations]:
        """A step's outputs, batch by batch."""
        return self._collected(
            execute(step, self._batch(values, step, number), operation)
            for number in range(self._count)
        )

    def _collected(self, runs: Iterable[Sequence[Any]]) -> list[Activations]:
        """What some runs, one for each batch, put out."""
        columns: list[Activations] = []
        for outputs in runs:
            columns = columns or [Activations() for _ in outputs]
            for column, batch in zip(columns, outputs, strict=True):
                self._store.add(column, batch)
        return columns

    def _batch(
        self, values: Mapping[Slot, Activations], step: Step, number: int
    ) -> dict[Slot, Any]:
        """What a step reads, of one batch."""
        return {slot: values[slot][number] for slot in step.inputs}

    def _release(self, step: Step) -> None:
        """Free what no later step reads, of what a step has read and written."""
        for slot in set(step.inputs):
            self._readers[slot] -= 1
        for slot in {*step.inputs, *step.outputs}:
            if not self._readers.get(slot):
                for values in (self._converted, self._original):
                    if slot in values:
                        self._store.discard(values.pop(slot))

    def _next_normalization(self, step: Step) -> Any:
        """The BatchNormalization that alone reads the layer's output, if there is one and it is
        called once."""
        readers = [other for other in self._program.steps if step.outputs[0] in other.inputs]
        if len(readers) != 1 or step.outputs[0] in self._program.outputs:
            return None
        follower = readers[0].operation
        calls = sum(other.operation is follower for other in self._program.steps)
        return (
            follower
            if isinstance(follower, keras.layers.BatchNormalization) and calls == 1
            else None
        )


def _joined(activations: Activations) -> np.ndarray:
    """All samples in float64."""
    return np.concatenate(
        [keras.ops.convert_to_numpy(keras.ops.cast(batch, "float32")) for batch in activations]
    ).astype(np.float64)


def _output_error(outputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Mean squared difference over the targets' variance; the mean over outputs."""
    errors = [
        relative_error(output, target) for output, target in zip(outputs, targets, strict=True)
    ]
    if not np.all(np.isfinite(errors)):
        warnings.warn(
            "The outputs of the models are not finite on some calibration samples.",
            KerasPReLUWarning,
            stacklevel=5,
        )
    return float(np.mean(errors))
