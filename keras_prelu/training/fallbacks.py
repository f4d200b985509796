"""What takes the place of a training that diverges, so that a fine-tuning is not lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from keras_prelu.errors import FineTuningError
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.fit import ScoredModel
from keras_prelu.training.guard import DivergedTrainingError
from keras_prelu.training.slope_multipliers import EQUAL, safe_multiplier
from keras_prelu.training.start import Start
from keras_prelu.training.trainer import Trainer

__all__ = ["RELU", "Fallback", "TrainedStart", "train_control", "train_start"]

RELU = "the ReLU model"
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Fallback:
    """A training that diverged, and what took its place.

    Attributes:
        training: Str. What was trained: "PReLU", or the name of a control.
        multiplier: Float. Ratio of the slopes' learning rate to that of the weights, or None
            without slopes.
        reason: Str. What happened: "its loss was not finite in epoch 2".
        instead: Str. "slopes at 1 times the rate", "the ReLU model", or "nothing".
    """

    training: str
    multiplier: float | None
    reason: str
    instead: str

    def sentence(self) -> str:
        """Return what happened as a sentence."""
        rate = (
            "" if self.multiplier is None else f" with slopes at {self.multiplier:g} times the rate"
        )
        taken = f"trained with {self.instead} instead"
        if self.instead == RELU:
            taken = "fine-tuned the ReLU model instead"
        elif self.instead == NOTHING:
            taken = "left it out; a lower learning rate may suit all models better"
        return f"The training of {self.training}{rate} diverged ({self.reason}): {taken}."


@dataclass(frozen=True, kw_only=True)
class TrainedStart:
    """A model that was fine-tuned, and where it started.

    Attributes:
        start: `Start`. That of the training that succeeded.
        model: `ScoredModel`.
        trainer: `Trainer`. That of the training that succeeded.
        fallbacks: Tuple of `Fallback`. The trainings before it, which diverged.
    """

    start: Start
    model: ScoredModel
    trainer: Trainer
    fallbacks: tuple[Fallback, ...]


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A way to train, and what it is called in place of an earlier one."""

    start: Start
    trainer: Trainer
    name: str = ""


def train_start(start: Start, trainer: Trainer) -> TrainedStart:
    """Fine-tune a prepared model; if that diverges, with slower slopes, and then as ReLU.

    Args:
        start: `Start`. The models.
        trainer: `Trainer`.

    Raises:
        FineTuningError: All of these trainings diverged.
    """
    fallbacks: list[Fallback] = []
    attempts = list(_attempts(start, trainer))
    for index, attempt in enumerate(attempts):
        checkpoint = f"model_{index}" if index else "model"
        try:
            model = attempt.trainer.train(checkpoint, attempt.start.prepared.model)
        except DivergedTrainingError as error:
            if index == len(attempts) - 1:
                raise _with_all(fallbacks, error) from error
            fallbacks.append(
                Fallback(
                    training="PReLU",
                    multiplier=attempt.trainer.setup.slopes.multiplier,
                    reason=error.reason,
                    instead=attempts[index + 1].name,
                )
            )
        else:
            break
    return TrainedStart(
        start=attempt.start, model=model, trainer=attempt.trainer, fallbacks=tuple(fallbacks)
    )


def _attempts(start: Start, trainer: Trainer) -> Iterator[_Attempt]:
    """Yield what is tried, in order."""
    yield _Attempt(start=start, trainer=trainer)
    if not has_prelu_layers(start.prepared.model):
        return
    safe = safe_multiplier(trainer.setup.optimizer)
    if (trainer.setup.slopes.multiplier or EQUAL) > safe:
        yield _Attempt(
            start=start,
            trainer=trainer.with_multiplier(safe),
            name=f"slopes at {safe:g} times the rate",
        )
    if start.original is not None:
        yield _Attempt(start=start.as_relu(), trainer=trainer, name=RELU)


def train_control(
    name: str, description: str, model: keras.Model, trainer: Trainer
) -> ScoredModel | Fallback:
    """Fine-tune a control, which is left out if its training diverges.

    Args:
        name: Str. Name of its checkpoint.
        description: Str. What it is called: "the ReLU control".
        model: Keras model. The control.
        trainer: `Trainer`.
    """
    try:
        return trainer.train(name, model)
    except DivergedTrainingError as error:
        return Fallback(training=description, multiplier=None, reason=error.reason, instead=NOTHING)


def _with_all(fallbacks: list[Fallback], error: DivergedTrainingError) -> FineTuningError:
    """Return the error of the last training, which says that it was not the only one."""
    if not fallbacks:
        return error
    return FineTuningError(
        f"All trainings of '{error.model}' diverged, whatever its slopes: {error.reason}. Lower the"
        " learning rate."
    )
