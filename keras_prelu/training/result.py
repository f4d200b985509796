"""The result of a fine-tuning: the trained models, their comparisons, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu.diagnostics.comparison import Comparison
from keras_prelu.diagnostics.slopes import LayerSlopes
from keras_prelu.revival import Revival
from keras_prelu.training.controls import CONTROLS, TrainedControl
from keras_prelu.training.fit import TrainedModel
from keras_prelu.training.recipe_search import RecipeTrial
from keras_prelu.training.recipes import CONTROL

__all__ = ["FineTuning"]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """A fine-tuned model and its controls.

    Attributes:
        prelu: `TrainedModel`. The fine-tuned PReLU model, or a ReLU control if the search found
            nothing better.
        control: `TrainedModel`. The fine-tuned ReLU original, or None if no control was asked for.
        revived_control: `TrainedModel`. The fine-tuned ReLU original with its dead units revived,
            if the recipe revives; None otherwise.
        slopes_before: Tuple of `LayerSlopes`. Slopes of each PReLU layer before training.
        slopes_after: Tuple of `LayerSlopes`. Slopes of each PReLU layer after training.
        scores: NumPy array. The model's score on each validation sample.
        control_scores: NumPy array. The control's score on each validation sample, or None without
            a control.
        comparison: `Comparison` of the model with the control, or None without a control.
        revived_comparison: `Comparison` of the model with the revived control, or None without a
            revived control.
        controls: Tuple of `TrainedControl`. Further controls that were asked for; empty if the
            search found nothing better than ReLU.
        recipe: Str. The name of the recipe, or "" if a converted model was passed.
        trials: Tuple of `RecipeTrial`. The short trainings of the search, for recipe="auto".
        revival: `Revival`. The result of the recipe's revival, or None.
    """

    prelu: TrainedModel
    control: TrainedModel | None
    revived_control: TrainedModel | None
    slopes_before: tuple[LayerSlopes, ...]
    slopes_after: tuple[LayerSlopes, ...]
    scores: np.ndarray
    control_scores: np.ndarray | None
    comparison: Comparison | None
    revived_comparison: Comparison | None
    controls: tuple[TrainedControl, ...]
    recipe: str
    trials: tuple[RecipeTrial, ...]
    revival: Revival | None

    @property
    def model(self) -> keras.Model:
        """The fine-tuned model."""
        return self.prelu.model

    @property
    def verdict(self) -> str:
        """One or more sentences on whether converting beats fine-tuning the original."""
        name = self._name_of_model()
        if self.recipe == CONTROL.name:
            return (
                "No recipe did better than the equally fine-tuned ReLU model on samples held back"
                " for the choice: keep ReLU."
            )
        if self.comparison is None:
            return f"No control was trained, so nothing can be said about {name}."
        sentences = [self.comparison.sentence(name, "the equally fine-tuned ReLU model")]
        if self.revived_comparison is not None:
            sentences.append(
                self.revived_comparison.sentence(name, "the same with its dead units revived")
            )
        sentences += [
            control.comparison.sentence(name, CONTROLS[control.name]) for control in self.controls
        ]
        return " ".join(sentences)

    def _name_of_model(self) -> str:
        """Return what the fine-tuned model is called in the verdict."""
        if self.slopes_after:
            return "PReLU"
        return "ReLU with its dead units revived" if self.revival else "The model as given"
