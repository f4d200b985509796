"""Verification of a calibration: before it, of its steps; after it, of its error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.backend.hosts import hosts
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import Calibration, LayerCalibration
from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.errors import CalibrationError, KerasPReLUWarning
from keras_prelu.graph.plan import Slot, Step
from keras_prelu.typing import Tensor
from keras_prelu.verification.probes import first_batch
from keras_prelu.verification.steps import is_random, steps_difference

__all__ = ["LARGE_ERROR", "check_steps", "warn_of_large_error"]

LARGE_ERROR = 0.2
"""The error of the outputs, relative to their variance, from which on a calibration warns.

Trained networks of the usual widths are calibrated to a hundredth of it and less. At a fifth of the
variance, a classifier visibly decides otherwise.
"""


def check_steps(pair: ModelPair, samples: CalibrationSamples) -> None:
    """Check that the steps that calibration runs one by one compute what `predict` does.

    Both models are compared on the first few samples.

    Raises:
        CalibrationError: They compute something else.
    """
    if hosts() > 1:  # The hosts hold different samples, and a prediction would need them all.
        return
    batch = first_batch(pair.converted, samples.arrays)

    def run_original(step: Step, values: Mapping[Slot, Tensor]) -> list[Tensor]:
        return step.execute(values, pair.counterpart(step))

    models: list[tuple[keras.Model, Any]] = [
        (pair.original, run_original),
        (pair.converted, Step.execute),
    ]
    for model, run_step in models:
        reason = steps_difference(model, pair.plan, batch, run_step)
        if reason and is_random(model, batch):
            warnings.warn(
                f"The predictions of '{model.name}' are random: the error that calibration records"
                " holds for one draw.",
                KerasPReLUWarning,
                stacklevel=4,
            )
        elif reason:
            raise CalibrationError(
                f"Model '{model.name}' predicts something else than its layers compute one by one"
                f" ({reason}), so it can't be calibrated. Convert it without calibration"
                ' (rescale="none").'
            )


def warn_of_large_error(calibration: Calibration) -> None:
    """Warn if a calibration leaves a large error, naming the layers to blame."""
    if not calibration.error_after > LARGE_ERROR:
        return
    blamed = sorted(filter(_has_error, calibration.layers), key=_error, reverse=True)[:3]
    layers = ", ".join(f"'{layer.path}' ({_error(layer):.2g})" for layer in blamed)
    warnings.warn(
        "The calibrated model differs from the original: the relative error of its outputs is"
        f" {calibration.error_after:.2g}, more than {LARGE_ERROR:g}."
        + (f" The layers with the largest errors are {layers}." if layers else "")
        + " Smaller slopes (alpha), more samples, or leaving out the sites before these layers"
        " (exclude) would help.",
        KerasPReLUWarning,
        stacklevel=4,
    )


def _has_error(layer: LayerCalibration) -> bool:
    return layer.error_after is not None and math.isfinite(layer.error_after)


def _error(layer: LayerCalibration) -> float:
    return layer.error_after or 0.0
