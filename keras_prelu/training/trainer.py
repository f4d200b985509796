"""Trainer of the models of a comparison, all with one setup."""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras

from keras_prelu.data.samples import CheckedSamples
from keras_prelu.diagnostics.comparison import Comparison, compare_measured
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.fit import ScoredModel, train_and_score
from keras_prelu.training.setup import TrainingSetup

__all__ = ["Trainer"]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trainer of clones of models with one setup, which compares them on the validation samples."""

    setup: TrainingSetup
    validation: CheckedSamples
    checkpoints: Checkpoints | None
    run: int = 0

    def for_run(self, run: int) -> Trainer:
        """Return the trainer of another run, whose seed is that of the first one plus its index."""
        fit = replace(self.setup.fit, seed=self.setup.fit.seed + run - self.run)
        return replace(self, setup=replace(self.setup, fit=fit), run=run)

    def with_default_multiplier(self, multiplier: float) -> Trainer:
        """Return the trainer with this ratio of the learning rates, unless the setup has one."""
        return replace(self, setup=self.setup.with_default_multiplier(multiplier))

    def with_multiplier(self, multiplier: float) -> Trainer:
        """Return the trainer with this ratio of the slopes' learning rate to the weights'."""
        slopes = replace(self.setup.slopes, multiplier=multiplier)
        return replace(self, setup=replace(self.setup, slopes=slopes))

    def train(self, name: str, model: keras.Model) -> ScoredModel:
        """Train a clone of a model; its checkpoint has this name, with that of the run."""
        training = f"run_{self.run}_{name}" if self.run else name
        checkpoint = None if self.checkpoints is None else self.checkpoints.file_of(training)
        return train_and_score(model, self.setup, self.validation, checkpoint, training=training)

    def compare(self, model: ScoredModel, control: ScoredModel) -> Comparison:
        """Compare a model with a control, sample by sample."""
        return compare_measured(model.scores, control.scores)

    def score(self, model: keras.Model, like: ScoredModel) -> Scores:
        """Measure a model that was not trained by the loss and the metrics of one that was."""
        trained = like.trained.model
        return measure_scores(
            model,
            self.validation,
            loss=trained.loss,
            metrics_of=trained,
            metric=self.setup.fit.metric,
        )
