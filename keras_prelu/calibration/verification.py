"""Verification of a calibration: before it, of its steps; after it, of its error.

The error of other conversions is measured and judged here too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.hosts import hosts
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import (
    BlockDistillation,
    Calibration,
    Distillation,
    LayerCalibration,
)
from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.errors import CalibrationError
from keras_prelu.graph.functional import has_graph
from keras_prelu.graph.plan import Slot, Step
from keras_prelu.theory import relative_error
from keras_prelu.typing import Tensor
from keras_prelu.utils.user_warnings import warn
from keras_prelu.verification.prediction import predict_once
from keras_prelu.verification.probes import first_batch
from keras_prelu.verification.steps import is_random, steps_difference

__all__ = [
    "LARGE_ERROR",
    "check_steps",
    "error_note",
    "large_error_note",
    "mean_error",
    "output_error",
    "warn_of_large_error",
]

_Part = LayerCalibration | BlockDistillation
"""A part of a model with an error of its own."""

_BLAMED = 3
"""Number of layers that a warning names."""

LARGE_ERROR = 0.2
"""The error of the outputs, relative to their variance, from which on a conversion warns.

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
            warn(
                f"The predictions of '{model.name}' are random: the error that calibration records"
                " holds for one draw.",
            )
        elif reason:
            raise CalibrationError(
                f"Model '{model.name}' predicts something else than its layers compute one by one"
                f" ({reason}), so it can't be calibrated. Convert it without calibration"
                ' (rescale="none", --rescale none).'
            )


def large_error_note(
    calibration: Calibration | Distillation, remedy: str = "Smaller slopes (alpha, --alpha)"
) -> str:
    """Return a sentence on the large error that a calibration or distillation leaves, or "".

    It names the layers to blame: those at which the error grows most, in execution order.

    Args:
        calibration: `Calibration` or `Distillation`.
        remedy: String. What would help first, at the beginning of a sentence.
    """
    if not calibration.error_after > LARGE_ERROR:
        return ""
    parts: Sequence[_Part] = (
        calibration.blocks if isinstance(calibration, Distillation) else calibration.layers
    )
    measured = [part for part in parts if _has_error(part)]
    growth = dict(zip((layer.path for layer in measured), _growth(measured), strict=True))
    blamed = sorted(measured, key=lambda layer: growth[layer.path], reverse=True)[:_BLAMED]
    layers = ", ".join(
        f"'{layer.path}' (by {growth[layer.path]:.2g} to {layer.error_after:.2g})"
        for layer in blamed
        if growth[layer.path] > 0
    )
    return (
        "The calibrated model differs from the original: the relative error of its outputs is"
        f" {calibration.error_after:.2g}, more than {LARGE_ERROR:g}."
        + (f" The error grows most at {layers}." if layers else "")
        + f" {remedy}, more samples, or leaving out the sites before these layers (exclude,"
        " --exclude) would help."
    )


def warn_of_large_error(calibration: Calibration | Distillation) -> None:
    """Warn if a calibration or distillation leaves a large error, naming the layers to blame."""
    note = large_error_note(calibration)
    if note:
        warn(note)


def output_error(
    original: keras.Model,
    converted: keras.Model,
    samples: CalibrationSamples,
    *,
    batch_size: int | None,
) -> float:
    """Return the mean squared change of a model's outputs on samples, over their variance.

    It is averaged over several outputs.

    Args:
        original: `keras.Model`.
        converted: `keras.Model`.
        samples: `CalibrationSamples`. For models with a fixed batch size, whole batches.
        batch_size: Integer or None. Samples to predict at once; None for 32.

    Returns:
        A float; NaN if the original's outputs are not finite.

    Raises:
        CalibrationError: The outputs of the converted model are not finite, and the original's are.
    """
    targets = _outputs(original, samples, batch_size)
    outputs = _outputs(converted, samples, batch_size)
    if not all(np.isfinite(target).all() for target in targets):
        return math.nan
    if not all(np.isfinite(output).all() for output in outputs):
        raise CalibrationError(
            "The outputs of the converted model are not finite on the samples. Choose smaller"
            " slopes (alpha, --alpha), fewer sites (exclude, --exclude), or calibration"
            ' (rescale="calibrated", --rescale calibrated).'
        )
    return mean_error(outputs, targets)


def mean_error(outputs: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Return the relative error of a model's outputs, averaged over several outputs."""
    errors = map(relative_error, outputs, targets)
    return float(np.mean(list(errors)))


def _outputs(
    model: keras.Model, samples: CalibrationSamples, batch_size: int | None
) -> list[np.ndarray]:
    """Return what a model predicts for samples, an array in float64 for each output."""
    fixed_size = model.inputs[0].shape[0] if has_graph(model) else None
    size = fixed_size or batch_size or 32
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(samples), size):
        rows = np.arange(start, min(start + size, len(samples)))
        batch = keras.tree.map_structure(
            functools.partial(np.take, indices=rows, axis=0), samples.structure
        )
        outputs = predict_once(model, batch).outputs
        parts.append([output.array.astype(np.float64) for output in outputs])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def error_note(error: float, remedy: str = ", smaller slopes (alpha, --alpha)") -> str:
    """Return a sentence on the large error of a conversion without calibration, or "".

    Args:
        error: Float.
        remedy: String. What would help between a calibration and fewer sites, after a comma.
    """
    if not error > LARGE_ERROR:
        return ""
    return (
        "The converted model differs from the original: the relative error of its outputs on the"
        f' samples is {error:.2g}, more than {LARGE_ERROR:g}. Calibration (rescale="calibrated",'
        f" --rescale calibrated){remedy} or fewer sites (exclude, --exclude) would help."
    )


def _growth(layers: Sequence[_Part]) -> list[float]:
    """Return by how much the error of each layer exceeds that of the layer before it."""
    errors = [_error(layer) for layer in layers]
    return [error - before for before, error in pairwise([0.0, *errors])]


def _has_error(layer: _Part) -> bool:
    return layer.error_after is not None and math.isfinite(layer.error_after)


def _error(layer: _Part) -> float:
    return layer.error_after or 0.0
