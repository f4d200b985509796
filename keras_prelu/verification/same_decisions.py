"""Whether an operation that multiplies outputs by factors kept the decisions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from keras_prelu.errors import reason_of
from keras_prelu.verification.agreement import OTHER_WEIGHTS, coarsest_epsilon, difference
from keras_prelu.verification.prediction import Value, predict_once
from keras_prelu.verification.probes import Probe, probe
from keras_prelu.verification.steps import is_random

__all__ = ["DecisionCheck"]


class DecisionCheck:
    """The outputs of a model at the time of construction, to compare with.

    As `FunctionCheck`, it compares nothing if the model can't be called on inputs that are drawn
    for it, or if its predictions are random.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._found: Probe | str = probe(model)
        self._share = min(OTHER_WEIGHTS * coarsest_epsilon(model), 0.1)

    def difference(
        self, model: keras.Model, factors: Sequence[float], probabilities: Sequence[str]
    ) -> str:
        """Return how the outputs of a model differ from what they should be, or "".

        Args:
            model: `keras.Model`. The same model with other weights.
            factors: Sequence of floats. For each output the factor that multiplied it, or its
                logits.
            probabilities: Sequence of strings. "softmax" for an output of probabilities whose most
                probable class has to be the same; "sigmoid" if the side of 1/2 has to be, for each
                of them; "" for an output that has to be multiplied by its factor.
        """
        found = self._found
        if isinstance(found, str):
            return ""
        try:
            outputs = predict_once(model, found.inputs).outputs
        except Exception as error:  # Whatever the model raises.
            return f"it raises {type(error).__name__} ({reason_of(error)})"
        for old, new, factor, kind in zip(
            found.prediction.outputs, outputs, factors, probabilities, strict=True
        ):
            reason = (
                self._decides_otherwise(old.array, new.array, kind)
                if kind
                else self._not_multiplied(old, new, factor)
            )
            if reason and not is_random(model, found.inputs):
                return reason
        return ""

    def _not_multiplied(self, old: Value, new: Value, factor: float) -> str:
        expected = replace(old, array=old.array * np.asarray(factor, dtype=old.array.dtype))
        largest = float(np.max(np.abs(expected.array), initial=0.0))
        return difference(expected, new, self._share * largest)

    def _decides_otherwise(self, old: np.ndarray, new: np.ndarray, kind: str) -> str:
        """Return that decisions differ by more than rounding explains, or ""."""
        if old.shape != new.shape:
            return f"its shape is {new.shape} instead of {old.shape}"
        leads = np.minimum(_leads(old, new, kind), _leads(new, old, kind))
        return "some decisions differ" if np.any(leads > self._share) else ""


def _leads(probabilities: np.ndarray, other: np.ndarray, kind: str) -> np.ndarray:
    """Return by how much probabilities prefer their own decision to that of others.

    It is 0 where the decisions are the same.
    """
    if kind == "sigmoid":
        same = (probabilities > 0.5) == (other > 0.5)
        return np.where(same, 0.0, np.abs(probabilities - 0.5))
    chosen = np.argmax(other, axis=-1)[..., None]
    return np.max(probabilities, axis=-1) - np.take_along_axis(probabilities, chosen, -1)[..., 0]
