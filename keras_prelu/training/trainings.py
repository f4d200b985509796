"""The final trainings of a fine-tuning, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_prelu.data.samples import CheckedSamples
from keras_prelu.diagnostics.comparison import Comparison, compare_measured
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.controls import TrainedControl, control_model
from keras_prelu.training.fit import ScoredModel, TrainingSetup, train_and_score
from keras_prelu.training.recipes import CONTROL
from keras_prelu.training.result import MODEL, ORIGINAL, FineTuning
from keras_prelu.training.start import Start

__all__ = ["Trainer", "train_and_compare"]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trainer of clones of models with one setup, which compares them on the validation samples."""

    setup: TrainingSetup
    validation: CheckedSamples
    checkpoints: Checkpoints | None

    def train(self, name: str, model: keras.Model) -> ScoredModel:
        """Train a clone of a model; its checkpoint has this name."""
        checkpoint = None if self.checkpoints is None else self.checkpoints.file_of(name)
        return train_and_score(model, self.setup, self.validation, checkpoint)

    def compare(self, model: ScoredModel, control: ScoredModel) -> Comparison:
        """Compare a model with a control, sample by sample."""
        return compare_measured(model.scores, control.scores)

    def score(self, model: keras.Model, like: ScoredModel) -> Scores:
        """Measure a model that was not trained by the loss and the metrics of one that was."""
        trained = like.trained.model
        return measure_scores(model, self.validation, loss=trained.loss, metrics_of=trained)


def train_and_compare(
    start: Start,
    trainer: Trainer,
    *,
    control: bool,
    control_names: Sequence[str],
) -> FineTuning:
    """Run the final trainings, and compare them on samples that none of them has seen.

    Args:
        start: `Start`. The models.
        trainer: `Trainer`.
        control: Bool. Whether to train the ReLU model too, if it is known.
        control_names: Sequence of str. Further controls.
    """
    prepared = start.prepared
    slopes_before = layer_slopes(prepared.model)
    model = trainer.train("model", prepared.model)
    relu = prepared_control = None
    if start.original is not None and control:
        # If the search chose the control, the two trainings would be the same.
        is_control = prepared.recipe.name == CONTROL.name
        relu = model if is_control else trainer.train("control", start.original)
    if start.prepared_original is not None:
        prepared_control = trainer.train("prepared_control", start.prepared_original)
    incoming, incoming_scores = _better_incoming(start, model, trainer)
    return FineTuning(
        prelu=model.trained,
        control=None if relu is None else relu.trained,
        prepared_control=None if prepared_control is None else prepared_control.trained,
        slopes_before=slopes_before,
        slopes_after=layer_slopes(model.trained.model),
        slope_multiplier=trainer.setup.slopes.multiplier if slopes_before else None,
        scores=model.scores.values,
        control_scores=None if relu is None else relu.scores.values,
        comparison=None if relu is None else trainer.compare(model, relu),
        prepared_comparison=(
            None if prepared_control is None else trainer.compare(model, prepared_control)
        ),
        incoming=incoming,
        incoming_comparison=compare_measured(model.scores, incoming_scores),
        control_incoming_comparison=(
            None if relu is None else compare_measured(relu.scores, incoming_scores)
        ),
        controls=tuple(
            _trained_control(name, prepared.model, model, trainer)
            for name in (control_names if slopes_before else ())
        ),
        recipe=prepared.recipe.name,
        trials=start.trials,
        preparations=prepared.recipe.preparations,
        revival=prepared.revival,
    )


def _better_incoming(start: Start, trained: ScoredModel, trainer: Trainer) -> tuple[str, Scores]:
    """Return which of the models that came in is better, and its scores: a converted model may have
    been fine-tuned before, or have lost by its conversion. Equally good ones are the original."""
    incoming_scores = trainer.score(start.incoming, like=trained)
    if start.original is None or start.original is start.incoming:
        return MODEL, incoming_scores
    original_scores = trainer.score(start.original, like=trained)
    if compare_measured(incoming_scores, original_scores).gain > 0:
        return MODEL, incoming_scores
    return ORIGINAL, original_scores


def _trained_control(
    name: str, prelu_model: keras.Model, model: ScoredModel, trainer: Trainer
) -> TrainedControl:
    control = trainer.train(name, control_model(name, prelu_model, trainer.setup.fit.seed))
    return TrainedControl(
        name=name, trained=control.trained, comparison=trainer.compare(model, control)
    )
