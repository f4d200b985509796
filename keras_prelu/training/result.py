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
    """A fine-tuned model beside its controls.

    Attributes:
        prelu: The fine-tuned PReLU model, or whatever the recipe made: a ReLU control where the
            search found nothing better.
        control: The fine-tuned ReLU original, or None where no control was asked for.
        revived_control: The fine-tuned ReLU original with its dead units revived, where the recipe
            revives; else None.
        slopes_before: Slopes of each PReLU layer before training.
        slopes_after: Slopes of each PReLU layer after training.
        scores: The model's score of each validation sample.
        control_scores: The control's score of each validation sample, or None without one.
        comparison: The model against the control, or None without one.
        revived_comparison: The model against the revived control, or None without one.
        controls: Further controls that were asked for; empty where the search found nothing better
            than ReLU.
        recipe: The name of the recipe, or "" where a converted model was given.
        trials: The short trainings of the search, for recipe="auto".
        revival: What the recipe's revival did, or None.
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
        """One or more sentences that say whether the conversion was worth it, compared with
        fine-tuning the original."""
        name = "PReLU" if self.slopes_after else "ReLU with its dead units revived"
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
