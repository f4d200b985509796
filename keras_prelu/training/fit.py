"""The training of one model: the same setup for every model of a comparison."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import replicas
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.data.batches import Batches
from keras_prelu.data.samples import CheckedSamples
from keras_prelu.data.streams import batch_count
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.diagnostics.unit_counts import SiteUnits, dead_units
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import is_slope
from keras_prelu.training.checkpoint_file import StateFile
from keras_prelu.training.class_weights import class_weights
from keras_prelu.training.compiled_clones import compiled_clone, let_it_go_on
from keras_prelu.training.config import FitConfig
from keras_prelu.training.data_order import FollowEpochs, ShuffledBatches
from keras_prelu.training.guard import (
    DivergedTrainingError,
    DivergenceGuard,
    largest_sound_loss,
)
from keras_prelu.training.optimizers import check_callbacks
from keras_prelu.training.resumption import Checkpoint, ResumableCallbacks
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.stream_batches import StreamBatches
from keras_prelu.training.user_callbacks import user_callbacks
from keras_prelu.training.variable_creation import build_for_training

__all__ = [
    "ScoredModel",
    "TrainedModel",
    "check_metric",
    "lowest_selection_loss",
    "train_and_score",
]

_FEW = 32


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A fine-tuned model.

    Attributes:
        model: Keras model. A fine-tuned clone; the model it was made from is unchanged.
        history: Dict of lists of floats. The metrics that `model.fit` recorded, by epoch.
        score_before: Float. Accuracy (for classifiers) or loss on the validation samples before
            training.
        score_after: Float. Accuracy or loss after training.
        metrics_before: Mapping from names to floats. The score and all metrics that the model is
            compiled with, on every output, on the validation samples before training.
        metrics_after: Mapping from names to floats. The same after training.
        dead_before: Tuple of `SiteUnits`. Dead units at each site before training, on the
            validation samples.
        dead_after: Tuple of `SiteUnits`. Dead units at each site after training.
    """

    model: keras.Model
    history: dict[str, list[float]]
    score_before: float
    score_after: float
    metrics_before: Mapping[str, float]
    metrics_after: Mapping[str, float]
    dead_before: tuple[SiteUnits, ...]
    dead_after: tuple[SiteUnits, ...]


@dataclass(frozen=True, kw_only=True)
class ScoredModel:
    """A fine-tuned model, and its scores on the validation samples.

    Attributes:
        trained: `TrainedModel`. The fine-tuned model.
        scores: `Scores` on the validation samples after training.
    """

    trained: TrainedModel
    scores: Scores


def train_and_score(
    source: keras.Model,
    setup: TrainingSetup,
    validation: CheckedSamples,
    checkpoint: StateFile | None = None,
    *,
    training: str,
) -> ScoredModel:
    """Train a clone of a model, and score it before and after.

    Args:
        source: Keras model; any model with a graph. Not changed.
        setup: `TrainingSetup` of the training.
        validation: `CheckedSamples` with labels, which the training does not see.
        checkpoint: `StateFile` that holds the training's state. If the file exists, the training
            continues from it. Defaults to None: no checkpoint.
        training: Str. Name of the training, for the user's function that makes callbacks.

    Raises:
        InvalidArgumentError: A ValueError; there is no loss, or slopes are frozen or warmed up on a
            stream without length.
        DivergedTrainingError: A FineTuningError; the loss became NaN or infinite, or exploded.
    """
    model = compiled_clone(source, setup)
    before = measure_scores(model, validation, metric=setup.fit.metric)
    dead_before = dead_units(model, validation)
    watched = validation if setup.selection is None else setup.selection
    history = _fit(model, setup, watched, checkpoint, training=training)
    let_it_go_on(model, source, setup)
    scores = measure_scores(model, validation, metric=setup.fit.metric)
    trained = TrainedModel(
        model=model,
        history=history,
        score_before=before.value,
        score_after=scores.value,
        metrics_before=before.by_name,
        metrics_after=scores.by_name,
        dead_before=dead_before,
        dead_after=dead_units(model, validation),
    )
    return ScoredModel(trained=trained, scores=scores)


def check_metric(model: keras.Model, setup: TrainingSetup, validation: CheckedSamples) -> None:
    """Check, before anything is trained, that models can be scored by the metric that was chosen.

    Raises:
        InvalidArgumentError: A ValueError; there is no such metric.
    """
    if setup.fit.metric is not None:
        few = validation.take(slice(0, max(_FEW, setup.fit.batch_size)))
        measure_scores(compiled_clone(model, setup), few, metric=setup.fit.metric)


def lowest_selection_loss(source: keras.Model, setup: TrainingSetup) -> float:
    """Train a clone of a model and return the lowest selection loss at the end of an epoch.

    Penalties on slopes are taken away, so that the losses of all recipes compare.
    """
    assert setup.selection is not None
    model = compiled_clone(source, setup)
    history = _fit(model, setup, setup.selection, training="trial")
    return min(history["val_loss"]) - _slope_penalty(model)


def _slope_penalty(model: keras.Model) -> float:
    """Return what the regularizers of slopes add to the loss of a model."""
    penalties = [
        variable.regularizer(variable)
        for variable in model.trainable_variables
        if is_slope(variable) and variable.regularizer is not None
    ]
    return float(sum(float(keras.ops.convert_to_numpy(penalty)) for penalty in penalties))


def _fit(
    model: keras.Model,
    setup: TrainingSetup,
    watched: CheckedSamples,
    checkpoint_file: StateFile | None = None,
    *,
    training: str,
) -> dict[str, list[float]]:
    """Train a model and return its history by epoch.

    If the setup has selection samples, the model ends with the weights of its best epoch.

    Raises:
        DivergedTrainingError: The loss became NaN or infinite, or exploded.
    """
    build_for_training(model, watched)
    _check_reported_loss(model, watched, setup.fit.batch_size)
    guard = DivergenceGuard(
        largest_sound_loss(model, watched, setup.fit.batch_size, setup.fit.seed)
    )
    keras.utils.set_random_seed(setup.fit.seed)
    data = setup.data()
    users = user_callbacks(setup.fit, training)
    check_callbacks(users, setup.fit)
    # The weights of an epoch are those that its losses are measured with, so what changes them at
    # its end comes after the choice of the best epoch.
    changing = [callback for callback in users if getattr(callback, "changes_training", False)]
    watching = [callback for callback in users if callback not in changing]
    callbacks: list[Any] = [guard, _SeedEpochs(setup.fit.seed), *watching]
    if isinstance(data, (ShuffledBatches, StreamBatches)):
        callbacks.insert(0, FollowEpochs(data))
    best_epoch = None if setup.selection is None else _restore_best_epoch(setup.fit)
    choosing = [] if best_epoch is None else [best_epoch]
    callbacks += [*choosing, *changing]
    checkpoint = None
    if checkpoint_file is not None:
        checkpoint = Checkpoint(checkpoint_file, guard, [*users, *choosing])
    with warnings.catch_warnings():
        if batch_count(data) is None:
            # Keras warns at the end of the first epoch of any data set whose length it can't ask.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
        result = model.fit(
            data,
            epochs=setup.fit.epochs,
            validation_data=_validation_data(watched, setup.fit.batch_size),
            callbacks=(
                callbacks
                if checkpoint is None
                else ResumableCallbacks(callbacks, checkpoint, data, model, setup.fit)
            ),
            class_weight=class_weights(setup.fit.class_weight, setup.train),
            shuffle=False,
            verbose=setup.fit.verbose,
        )
    history: dict[str, list[float]] = result.history if checkpoint is None else checkpoint.history
    reason = guard.reason or _flaw(history, chooses_epoch=best_epoch is not None)
    if reason:
        raise DivergedTrainingError(model.name, reason)
    return history


def _check_reported_loss(model: keras.Model, samples: CheckedSamples, batch_size: int) -> None:
    """Check that a model with steps or metrics of its own reports its loss, before its training.

    Raises:
        InvalidArgumentError: A ValueError; it does not.
    """
    cls: Any = type(model)
    own = [name for name in ("test_step", "metrics") if _is_own(cls, name)]
    if not own:
        return
    first = Batches(samples.take(slice(batch_size)), batch_size)
    if "loss" not in model.evaluate(first, verbose=0, return_dict=True):
        raise InvalidArgumentError(
            f"Model '{model.name}' ({cls.__name__}) reports no 'loss' from evaluate(), by which"
            f" trainings are compared: its {' and '.join(own)} leave it out. Add a"
            " keras.metrics.Mean(name='loss') that its test_step updates."
        )


def _is_own(cls: Any, name: str) -> bool:
    """Return whether a class outside Keras defines an attribute."""
    definer = next(base for base in cls.__mro__ if name in vars(base))
    return not definer.__module__.startswith(("keras.", "keras_prelu."))


def _validation_data(samples: CheckedSamples, batch_size: int) -> Any:
    if samples.on_disk or replicas() > 1:
        return Batches(samples, batch_size)
    return keras_arrays(samples.labelled)


def _flaw(history: dict[str, list[float]], *, chooses_epoch: bool) -> str:
    """Return why the weights that a training ends with are of no use, or "".

    Args:
        history: Dict. The history of the training.
        chooses_epoch: Bool. Whether the best epoch's weights were restored.
    """
    losses = [*map(math.isfinite, history["val_loss"])]
    is_sound = any(losses) if chooses_epoch else losses[-1]
    return "" if is_sound else "its loss on other samples was not finite"


def _restore_best_epoch(fit: FitConfig) -> keras.callbacks.EarlyStopping:
    """Return a callback that restores the best epoch's weights.

    Without `patience` it never stops early: all models of a comparison are then trained for the
    same number of steps.
    """
    patience = fit.epochs if fit.patience is None else fit.patience
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", mode="min", patience=patience, restore_best_weights=True
    )


class _SeedEpochs(keras.callbacks.Callback):
    """Callback that seeds the global random generators at the start of each epoch.

    PyTorch's dropout and users' augmentation draw from them. The random numbers of an epoch then
    depend on its number alone, also in a training that continues from a checkpoint.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        keras.utils.set_random_seed(int(np.random.default_rng([self._seed, epoch]).integers(2**32)))
