"""Layerwise calibration: one sweep through both models that refits each linear layer.

The sweep propagates the activations of all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.calibration.acceptance import is_improvement
from keras_prelu.calibration.activation_store import ActivationStore
from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.paired_values import PairedValues, run_to_outputs, stacked
from keras_prelu.calibration.records import Calibration
from keras_prelu.calibration.refit_layers import LayerRefits, Progress
from keras_prelu.calibration.samples import (
    CalibrationSamples,
    SampleSplit,
    fixed_batch_size,
    split_samples,
)
from keras_prelu.calibration.verification import mean_error
from keras_prelu.errors import CalibrationError
from keras_prelu.utils.user_warnings import warn

__all__ = ["LayerwiseCalibrator", "Progress"]


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
            values = PairedValues(self._pair.plan, self._inputs, self.batch_size, store)
            refits = LayerRefits(
                self._pair, self._config, self.split, values, on_step or _ignore_progress
            )
            try:
                return self._judge(refits, self._outputs(refits, values, store))
            except BaseException:
                refits.undo()
                raise

    def _outputs(
        self, refits: LayerRefits, values: PairedValues, store: ActivationStore
    ) -> _HeldOutOutputs:
        """Run a sweep, and return the outputs on held-out samples."""
        held_out, plan = self.split.local_held_out, self._pair.plan
        if fixed_batch_size(self._pair.converted) > 1:  # Batches may build on those before them.
            all_outputs = run_to_outputs(plan, self._inputs, self.batch_size, store)
            before = [array[held_out] for array in all_outputs]
        else:
            held_out_inputs = [array[held_out] for array in self._inputs]
            before = run_to_outputs(plan, held_out_inputs, self.batch_size, store)
        refits.run()
        return _HeldOutOutputs(
            before=before,
            after=[stacked(values.converted.of(slot))[held_out] for slot in plan.outputs],
            targets=[stacked(values.original.of(slot))[held_out] for slot in plan.outputs],
        )

    def _judge(self, refits: LayerRefits, outcome: _HeldOutOutputs) -> Calibration:
        """Undo a sweep unless it made the outputs better, and return the record."""
        if self.split.exchange is not None:
            outcome = outcome.gathered(self.split.exchange.gather_rows)
        error_before = mean_error(outcome.before, outcome.targets)
        error_after = mean_error(outcome.after, outcome.targets)
        _check_finite(outcome.targets, error_before, error_after)
        kept = is_improvement(outcome.before, outcome.after, outcome.targets)
        if not kept:
            refits.undo()
        return Calibration(
            samples=self.split.total,
            held_out=len(outcome.targets[0]),
            error_before=error_before,
            error_after=error_after if kept else error_before,
            kept=kept,
            layers=tuple(refits.records.values()),
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


def _check_finite(targets: Sequence[np.ndarray], *errors: float) -> None:
    """Refuse a model whose outputs are not finite where its original's are.

    Raises:
        CalibrationError: None of the errors is finite, but the targets are.
    """
    if not all(np.isfinite(target).all() for target in targets):
        warn(
            "The outputs of the original are not finite on some calibration samples.",
        )
    elif not np.isfinite(errors).any():
        raise CalibrationError(
            "The outputs of the converted model are not finite on held-out samples, before or after"
            " calibration. Convert with smaller slopes (alpha, --alpha), or fewer sites (exclude,"
            " --exclude)."
        )
