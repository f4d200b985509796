"""The comparison of a conversion with its original, and the first layer that differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.calibration.layer_matching import match_layers
from keras_prelu.errors import CalibrationError, ConversionError, reason_of
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.output_names import output_names
from keras_prelu.graph.plan import Slot, Step, compile_plan
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Tensor
from keras_prelu.verification.agreement import (
    SAME_OPERATIONS,
    coarsest_epsilon,
    difference,
    largest_difference,
    magnitude,
    prediction_difference,
)
from keras_prelu.verification.prediction import Prediction, Value, as_value, predict_once
from keras_prelu.verification.probes import Probe
from keras_prelu.verification.steps import as_tensors, is_random

__all__ = ["Comparison", "OverflowedError", "Verification", "is_finite", "not_made"]


class OverflowedError(ConversionError):
    """A difference of layers that read infinite values or NaN."""


@dataclass(frozen=True)
class Verification:
    """The record of a verification.

    Attributes:
        samples: Integer. Number of samples that both models predicted; 0 if the check could not be
            made.
        drawn: Boolean. Whether the samples were drawn to fit the model's inputs, instead of taken
            from calibration data.
        largest_difference: Float. The largest difference of two outputs, which is rounding; NaN if
            the check could not be made.
        obstacle: String. Why the check could not be made; empty if it was.
    """

    samples: int
    drawn: bool
    largest_difference: float
    obstacle: str


class Comparison:
    """The comparison of an original with its conversion on one probe."""

    def __init__(
        self,
        original: keras.Model,
        converted: keras.Model,
        sites: Sequence[LocatedSite],
        found: Probe,
    ) -> None:
        self._original, self._converted = original, converted
        self._sites, self._found = sites, found
        self._epsilon = coarsest_epsilon(original)

    def run(self) -> Verification:
        """Return the record of the comparison.

        Raises:
            ConversionError: The models differ.
        """
        found = self._found
        expected_names, names = output_names(self._original), output_names(self._converted)
        if names != expected_names:
            raise self._refusal(f"its outputs are named {names} instead of {expected_names}")
        try:
            prediction = predict_once(self._converted, found.inputs)
        except Exception as error:  # Whatever the converted model raises.
            self._find_first_difference()
            raise self._refusal(f"it raises {type(error).__name__} ({reason_of(error)})") from error
        reason = self._difference(prediction, 0.0)
        if reason:
            if is_random(self._original, found.inputs):
                return not_made(
                    "the model's own predictions for the same inputs differ", drawn=found.drawn
                )
            largest_intermediate = self._find_first_difference()
            reason = self._difference(prediction, largest_intermediate)
        if reason:
            raise self._refusal(reason)
        return Verification(
            samples=len(keras.tree.flatten(found.inputs)[0]),
            drawn=found.drawn,
            largest_difference=largest_difference(found.prediction.outputs, prediction.outputs),
            obstacle="",
        )

    def _difference(self, prediction: Prediction, intermediate: float) -> str:
        return prediction_difference(
            self._found.prediction,
            prediction,
            epsilon=self._epsilon,
            units=SAME_OPERATIONS,
            intermediate=intermediate,
        )

    def _refusal(self, reason: str) -> ConversionError:
        return ConversionError(
            f"The converted model of '{self._original.name}' does not compute what the original"
            f" does: {reason}. Exclude sites (exclude, --exclude) until it does, or convert without"
            " this check (verify=False, --no-verify)."
        )

    def _find_first_difference(self) -> float:
        """Raise the error that names the first step that computes something else.

        Each step is executed by both models on the same tensors, those of the original.

        Returns:
            The largest magnitude of these tensors, or 0.0 for a model without a graph, which is
            compared as a whole.
        """
        try:
            plan = compile_plan(self._converted)
            counterparts = match_layers(plan, self._original, self._sites)
        except (CalibrationError, ConversionError):
            return 0.0
        largest = 0.0

        def run_both(step: Step, values: Mapping[Slot, Tensor]) -> list[Tensor]:
            nonlocal largest
            outputs = step.execute(values, counterparts[step.path])
            expected = [as_value(tensor) for tensor in outputs]
            read = [as_value(values[slot]) for slot in step.inputs]
            scale = max(magnitude(read), magnitude(expected))
            largest = max(largest, scale)
            reason = _step_difference(
                step, values, expected, SAME_OPERATIONS * self._epsilon * scale
            )
            if reason:
                overflows = not all(map(is_finite, (*read, *expected)))
                kind = OverflowedError if overflows else ConversionError
                raise kind(
                    f"The converted model of '{self._original.name}' does not compute what the"
                    f" original does: '{step.path}' is the first layer that differs: {reason}."
                    f" {self._advice(step)}, or convert without this check (verify=False,"
                    " --no-verify)."
                )
            return outputs

        with state_kept(self._original, self._converted):
            run_plan(plan, as_tensors(self._converted, self._found.inputs), run_both)
        return largest

    def _advice(self, step: Step) -> str:
        """Return what to exclude so that the layer of a step stays as it is."""
        paths = [
            located.site.path
            for located in self._sites
            if located.site.target == step.path
            or located.site.path == step.path
            or located.site.path.startswith(f"{step.path}/")
        ]
        if not paths:
            return "No site in it was converted: please report this"
        return f"Exclude {', '.join(map(repr, paths[:3]))} (exclude, --exclude)"


def _step_difference(
    step: Step, values: Mapping[Slot, Tensor], expected: Sequence[Value], tolerance: float
) -> str:
    """Return how the outputs of a step differ from those expected, or ""."""
    try:
        outputs = [as_value(tensor) for tensor in step.execute(values)]
    except Exception as error:  # Whatever the layer raises.
        return f"it raises {type(error).__name__} ({reason_of(error)})"
    if len(outputs) != len(expected):
        return f"it has {len(outputs)} outputs instead of {len(expected)}"
    reasons = (
        difference(one, other, tolerance) for one, other in zip(expected, outputs, strict=True)
    )
    return next(filter(None, reasons), "")


def is_finite(value: Value) -> bool:
    """Return whether a value has neither NaN nor infinite entries."""
    return value.array.dtype.kind not in "f" or bool(np.isfinite(value.array).all())


def not_made(obstacle: str, *, drawn: bool) -> Verification:
    """Return the record of a verification that could not be made."""
    return Verification(samples=0, drawn=drawn, largest_difference=float("nan"), obstacle=obstacle)
