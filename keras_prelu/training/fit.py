"""One training run: what every model in a comparison gets alike, and what came of it."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import replicas
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import Samples
from keras_prelu.diagnostics.comparison import sample_scores
from keras_prelu.diagnostics.dead_units import SiteUnits, dead_units
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.errors import FineTuningError, InvalidArgumentError
from keras_prelu.training.checkpoints import Checkpoint
from keras_prelu.training.data_order import FollowEpochs, ShuffledBatches
from keras_prelu.training.slope_optimizer import SlopeTraining
from keras_prelu.training.warmup import build_for_training

__all__ = ["DEFAULT_LEARNING_RATE", "Budget", "Run", "lowest_loss", "run"]

DEFAULT_LEARNING_RATE = 3e-3
"""Of Adam, decayed to 0 along a cosine. At 10⁻³ most of what fine-tuning can gain stays hidden
(docs/explanation/results.md)."""


@dataclass(frozen=True)
class Run:
    """One fine-tuned model.

    Attributes:
        model: A new model, fine-tuned; the model it was made from is unchanged.
        history: What `model.fit` recorded, by epoch.
        score_before, score_after: Accuracy (for classifiers) or loss on the validation samples.
        dead_before, dead_after: Dead units at each site, on the validation samples.
    """

    model: keras.Model
    history: dict[str, list[float]]
    score_before: float
    score_after: float
    dead_before: tuple[SiteUnits, ...]
    dead_after: tuple[SiteUnits, ...]


@dataclass(frozen=True)
class Budget:
    """What all models get alike.

    Attributes:
        train: `Samples`, or a stream of batches.
        epochs, batch_size: Of the training; `batch_size` for samples.
        optimizer, learning_rate, loss, metrics, callbacks, verbose: As in `finetune`.
        seed: Of the data order and of everything random in training.
        selection: Samples on which the best epoch is chosen; None keeps the last.
        batches: At most so many batches in an epoch, drawn anew each time; None for all.
        checkpoint: The file that the run's state is kept in, and that it goes on from if there is
            one; None for no checkpoint.
    """

    train: Any
    epochs: int
    batch_size: int
    optimizer: Any
    learning_rate: float | None
    loss: Any
    metrics: Any
    callbacks: Any
    seed: int
    verbose: Any
    selection: Samples | None = None
    batches: int | None = None
    checkpoint: Path | None = None

    def data(self) -> Any:
        """The training data, in the order that all models see."""
        if isinstance(self.train, Samples):
            return ShuffledBatches(self.train, self.batch_size, self.seed, limit=self.batches)
        return self.train

    def steps(self) -> int | None:
        """Batches in all, where they can be counted."""
        try:
            count = len(self.data())
        except TypeError:
            return None
        return count * self.epochs if count > 0 else None

    def shortened(self, steps: int) -> Budget:
        """The same with so many steps in all, as a whole training of its own: its schedule ends
        with it. For `train` given as samples."""
        whole = len(ShuffledBatches(self.train, self.batch_size, self.seed))
        epochs = max(1, round(steps / whole))
        return replace(
            self,
            epochs=epochs,
            batches=min(whole, max(1, steps // epochs)),
            callbacks=None,
            verbose=0,
            checkpoint=None,
        )

    def make_optimizer(self) -> Any:
        if self.optimizer is not None:
            optimizer = keras.optimizers.get(self.optimizer)
            return type(optimizer).from_config(optimizer.get_config())
        rate = DEFAULT_LEARNING_RATE if self.learning_rate is None else float(self.learning_rate)
        steps = self.steps()
        return keras.optimizers.Adam(
            rate if steps is None else keras.optimizers.schedules.CosineDecay(rate, steps)
        )

    def make_callbacks(self) -> list[Any]:
        """The user's."""
        return (
            list(self.callbacks())
            if callable(self.callbacks)
            else [copy.deepcopy(callback) for callback in self.callbacks or ()]
        )


def run(
    source: keras.Model, budget: Budget, slope_training: SlopeTraining, validation: Samples
) -> tuple[Run, np.ndarray, str]:
    """Train a copy of a model; the run, its score of each validation sample, and the name of the
    metric."""
    model = _compiled_copy(source, budget, slope_training)
    _, before = sample_scores(model, validation)
    dead_before = dead_units(model, validation.x)
    history = _fit(model, budget, validation if budget.selection is None else budget.selection)
    metric, after = sample_scores(model, validation)
    return (
        Run(
            model,
            history,
            float(before.mean()),
            float(after.mean()),
            dead_before,
            dead_units(model, validation.x),
        ),
        after,
        metric,
    )


def lowest_loss(source: keras.Model, budget: Budget, slope_training: SlopeTraining) -> float:
    """Train a copy of a model; the lowest loss on the selection samples that an epoch ended
    with."""
    assert budget.selection is not None
    return min(
        _fit(_compiled_copy(source, budget, slope_training), budget, budget.selection)["val_loss"]
    )


def _compiled_copy(
    source: keras.Model, budget: Budget, slope_training: SlopeTraining
) -> keras.Model:
    model = rewrite(source)
    settings: dict[str, Any] = {}
    if model.compiled:
        settings = keras.saving.deserialize_keras_object(model.get_compile_config() or {})
    if budget.loss is not None:
        settings["loss"] = budget.loss
    if budget.metrics is not None:
        settings["metrics"] = [_fresh(metric) for metric in budget.metrics]
    if settings.get("loss") is None:
        raise InvalidArgumentError(
            f"Model '{model.name}' is not compiled with a loss: give `loss`."
        )
    optimizer = budget.make_optimizer()
    settings["optimizer"] = (
        slope_training.optimizer(optimizer, budget.steps()) if layer_slopes(model) else optimizer
    )
    model.compile(**settings)
    return model


def _fit(model: keras.Model, budget: Budget, watched: Samples) -> dict[str, list[float]]:
    """Train; what each epoch recorded. The model ends with its best epoch's weights where the
    budget has selection samples."""
    build_for_training(model, watched)
    keras.utils.set_random_seed(budget.seed)
    data, callbacks = budget.data(), [_SeedEpochs(budget.seed), *budget.make_callbacks()]
    if isinstance(data, ShuffledBatches):
        callbacks.insert(0, FollowEpochs(data))
    stopping = None
    if budget.selection is not None:  # it never stops, as the number of steps is the same for all
        stopping = keras.callbacks.EarlyStopping(
            monitor="val_loss", mode="min", patience=budget.epochs, restore_best_weights=True
        )
        callbacks.append(stopping)
    checkpoint = None if budget.checkpoint is None else Checkpoint(budget.checkpoint, stopping)
    history: dict[str, list[float]] = model.fit(
        data,
        epochs=budget.epochs,
        validation_data=(
            Batches(watched, budget.batch_size)
            if watched.on_disk or replicas() > 1
            else (watched.x, watched.y)
        ),
        callbacks=callbacks if checkpoint is None else [*callbacks, checkpoint],
        shuffle=False,
        verbose=budget.verbose,
    ).history
    history = history if checkpoint is None else checkpoint.history
    if not math.isfinite(history["loss"][-1]):
        raise FineTuningError(
            f"The loss of '{model.name}' became {history['loss'][-1]} in epoch"
            f" {len(history['loss'])}. Lower the learning rate."
        )
    return history


class _SeedEpochs(keras.callbacks.Callback):
    """Seeds the global random generators anew for each epoch, from which PyTorch's dropout and
    users' augmentation draw: what an epoch draws then depends on its number alone, also in a
    training that goes on after it was stopped."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        keras.utils.set_random_seed(int(np.random.default_rng([self._seed, epoch]).integers(2**32)))


def _fresh(metric: Any) -> Any:
    """A metric object keeps a count; each model needs its own."""
    return (
        type(metric).from_config(metric.get_config())
        if isinstance(metric, keras.metrics.Metric)
        else metric
    )
