"""One pass through both models of a pair that refits each linear layer.

Layers with a `LinearView` (`graph.linear_layers`) are refitted, also those inside custom layers
(`inner_layers`). Recurrent layers are not: they would need a view of two kernels, and inputs that
are recorded inside their loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_prelu.backend.variables import snapshot
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.design import Assignment, Intercept
from keras_prelu.calibration.inner_layers import (
    InnerLayer,
    has_linear_layers,
    is_spectrally_normalized,
)
from keras_prelu.calibration.layer_fit import Fit, fit_layer
from keras_prelu.calibration.layer_rows import InputPair
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.out_of_memory import naming_layer
from keras_prelu.calibration.paired_values import PairedValues, has_weight_matrix
from keras_prelu.calibration.records import LayerCalibration
from keras_prelu.calibration.samples import SampleSplit
from keras_prelu.graph.channel_scaling import is_batch_normalization
from keras_prelu.graph.layer_kinds import is_plain_call
from keras_prelu.graph.linear_layers import LinearView, linear_view
from keras_prelu.graph.plan import ExecutionPlan, Step
from keras_prelu.graph.weight_sharing import SharedVariables

__all__ = ["LayerRefits", "Progress"]

_SHARED = "it shares its weights with another layer"
_NOT_LINEAR = "layers of its kind are not refitted"
Progress = Callable[[int, int], None]
"""A function that is called with (steps done, steps in total)."""


class LayerRefits:
    """One calibration, which refits the layers in the order in which their inputs become known.

    Attributes:
        records: Dict from path to `LayerCalibration`.
    """

    def __init__(
        self,
        pair: ModelPair,
        config: CalibrationConfig,
        split: SampleSplit,
        values: PairedValues,
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
        elif not is_treated and has_weight_matrix(step) and self._values.differ(step):
            self._keep(step, _NOT_LINEAR)
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


def _normalization_after(plan: ExecutionPlan, step: Step) -> Any:
    """Return the BatchNormalization after a layer, or None.

    It must be called once and be the only reader of the layer's output.
    """
    reader = plan.sole_reader(step.outputs[0])
    if reader is None or plan.call_count(reader.operation) != 1:
        return None
    is_normalization = is_batch_normalization(reader.operation) and is_plain_call(reader)
    return reader.operation if is_normalization else None
