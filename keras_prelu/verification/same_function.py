"""Whether an operation on a model kept its function."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.plan import compile_plan
from keras_prelu.verification.agreement import coarsest_epsilon, prediction_difference
from keras_prelu.verification.prediction import predict_once
from keras_prelu.verification.probes import Probe, probe, probe_with
from keras_prelu.verification.steps import intermediate_magnitude, is_random

__all__ = ["FunctionCheck"]


class FunctionCheck:
    """The function of a model at the time of construction, to compare with.

    A model that can't be called on inputs that are drawn for it, or whose predictions are random,
    is not compared.

    Args:
        model: `keras.Model`.
        samples: Array, or list or dict of arrays, in the structure that the model takes. Defaults
            to None: inputs are drawn.
    """

    def __init__(self, model: keras.Model, samples: Any = None) -> None:
        self._found: Probe | str = probe(model) if samples is None else probe_with(model, samples)
        self._epsilon = coarsest_epsilon(model)

    def without_losses(self) -> FunctionCheck:
        """Return the same check, which does not compare the losses that layers add."""
        check = copy(self)
        if not isinstance(self._found, str):
            prediction = replace(self._found.prediction, losses=None)
            check._found = replace(self._found, prediction=prediction)
        return check

    def with_one_sample(self, model: keras.Model) -> FunctionCheck:
        """Return a check on one of the samples alone, which Python code may treat otherwise.

        Args:
            model: `keras.Model`. The same, with the same weights.
        """
        check = copy(self)
        if isinstance(self._found, str):
            return check
        inputs = keras.tree.map_structure(lambda array: array[:1], self._found.inputs)
        try:
            check._found = replace(
                self._found, inputs=inputs, prediction=predict_once(model, inputs)
            )
        except Exception as error:  # Whatever the model raises for one sample.
            check._found = reason_of(error)
        return check

    def difference(self, model: keras.Model, units: float) -> str:
        """Return how the predictions of a model differ from those at construction, or "".

        Args:
            model: `keras.Model`. The same model with other weights, or another one.
            units: Float. As in the rule of `agreement`.
        """
        found = self._found
        if isinstance(found, str):
            return ""
        try:
            prediction = predict_once(model, found.inputs)
        except Exception as error:  # Whatever the model raises.
            return f"it raises {type(error).__name__} ({reason_of(error)})"
        epsilon = max(self._epsilon, coarsest_epsilon(model))
        reason = prediction_difference(found.prediction, prediction, epsilon=epsilon, units=units)
        if not reason or is_random(model, found.inputs):
            return ""
        return prediction_difference(
            found.prediction,
            prediction,
            epsilon=epsilon,
            units=units,
            intermediate=self._largest_intermediate(model, found),
        )

    def _largest_intermediate(self, model: keras.Model, found: Probe) -> float:
        if not is_taken_apart(model) and not functional.is_sequence(model):
            return 0.0
        return intermediate_magnitude(model, compile_plan(model), found.inputs)

    def refuse(self, model: keras.Model, units: float, done: str) -> None:
        """Raise an error if a model predicts something else than at construction.

        Args:
            model: `keras.Model`. As in `difference`.
            units: Float. As in `difference`.
            done: String. What was done, as the subject of a sentence.

        Raises:
            ConversionError: The predictions differ.
        """
        reason = self.difference(model, units)
        if reason:
            raise ConversionError(f"{done} changes what '{model.name}' computes: {reason}.")
