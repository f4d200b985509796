"""The result of a fine-tuning: the trained models, their comparisons, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.diagnostics.comparison import Comparison
from keras_prelu.diagnostics.slopes import LayerSlopes
from keras_prelu.display.figures import learning_curves_figure
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table
from keras_prelu.revival import Revival
from keras_prelu.scaling.norm_reset import NormReset
from keras_prelu.training.controls import TrainedControl
from keras_prelu.training.fallbacks import Fallback
from keras_prelu.training.fit import TrainedModel
from keras_prelu.training.recipe_search import RecipeTrial
from keras_prelu.training.result_tables import finetuning_tables, named_trainings
from keras_prelu.training.run_comparison import OverRuns
from keras_prelu.training.verdict import Judged

__all__ = ["FineTuning"]

MODEL, ORIGINAL = "model", "original"
"""Which of the models that came in the fine-tuned ones are compared with."""


@dataclass(frozen=True, kw_only=True)
class FineTuning(Judged, Shown):
    """A fine-tuned model and its controls.

    Attributes:
        prelu: `TrainedModel`. The fine-tuned PReLU model, or a ReLU control if the search found
            nothing better.
        control: `TrainedModel`. The fine-tuned ReLU original, or None if no control was asked for.
        prepared_control: `TrainedModel`. The fine-tuned ReLU original to which the recipe's
            preparations were applied (its dead units revived, its norms reset), if any of them
            changed it; None otherwise.
        slopes_before: Tuple of `LayerSlopes`. Slopes of each PReLU layer before training.
        slopes_after: Tuple of `LayerSlopes`. Slopes of each PReLU layer after training.
        slope_multiplier: Float. Ratio of the slopes' learning rate to that of the weights, or None
            without slopes.
        scores: NumPy array. The model's score on each validation sample.
        control_scores: NumPy array. The control's score on each validation sample, or None without
            a control.
        prepared_control_scores: NumPy array. Those of the prepared control, or None without one.
        comparison: `Comparison` of the model with the control, or None without a control.
        prepared_comparison: `Comparison` of the model with the prepared control, or None without
            one.
        incoming: Str. Which model came in: "model", the one that was passed to be fine-tuned, or
            "original", where that one was passed too and scores at least as well.
        incoming_comparison: `Comparison` of the model with the one that came in.
        control_incoming_comparison: `Comparison` of the control with the model that came in, or
            None without a control.
        controls: Tuple of `TrainedControl`. Further controls that were asked for; empty if the
            search found nothing better than ReLU.
        recipe: Str. The name of the recipe, or "" if a converted model was passed.
        trials: Tuple of `RecipeTrial`. The short trainings of the search, for recipe="auto".
        preparations: Tuple of str. What the recipe did to the ReLU model before its conversion;
            without what changed nothing.
        revival: `Revival`. The result of the recipe's revival, or None.
        norm_reset: `NormReset`. The result of the recipe's reset of norms, or None.
        fallbacks: Tuple of `Fallback`. The trainings that diverged, and what took their place.
        over_runs: `OverRuns`. All runs and their comparison, or None for a single run. All other
            attributes are those of the run with the lowest loss on the selection samples.
    """

    prelu: TrainedModel
    control: TrainedModel | None
    prepared_control: TrainedModel | None
    slopes_before: tuple[LayerSlopes, ...]
    slopes_after: tuple[LayerSlopes, ...]
    slope_multiplier: float | None
    scores: np.ndarray
    control_scores: np.ndarray | None
    prepared_control_scores: np.ndarray | None
    comparison: Comparison | None
    prepared_comparison: Comparison | None
    incoming: str
    incoming_comparison: Comparison
    control_incoming_comparison: Comparison | None
    controls: tuple[TrainedControl, ...]
    recipe: str
    trials: tuple[RecipeTrial, ...]
    preparations: tuple[str, ...]
    revival: Revival | None
    norm_reset: NormReset | None = None
    fallbacks: tuple[Fallback, ...] = ()
    over_runs: OverRuns | None = None

    def tables(self) -> tuple[Table, ...]:
        """Return the tables of trials, runs, scores and slopes."""
        return finetuning_tables(self)

    def sentences(self) -> tuple[str, ...]:
        """Return what the recipe's preparations kept as it was, and the verdict."""
        return (*self.notes, self.verdict)

    def plot(self) -> Any:
        """Return a matplotlib figure of the losses and metrics of all networks by epoch."""
        return learning_curves_figure(
            {name: training.history for name, training in named_trainings(self)}
        )

    @property
    def model(self) -> keras.Model:
        """The fine-tuned model."""
        return self.prelu.model

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the dead units that were not revived, and the norms that were not reset."""
        records = [each for each in (self.revival, self.norm_reset) if each is not None]
        return tuple(record.note for record in records if record.note)

    @property
    def revived_control(self) -> TrainedModel | None:
        """The prepared control if its dead units were revived, or None."""
        return None if self.revival is None else self.prepared_control

    @property
    def revived_comparison(self) -> Comparison | None:
        """The comparison with the prepared control if its dead units were revived, or None."""
        return None if self.revival is None else self.prepared_comparison
