"""Short trials of recipes on held-back samples, without a final training."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_prelu.data.dataset import split
from keras_prelu.data.samples import CheckedSamples
from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.arguments import SELECTION_SHARE, check_distribution, labelled_samples
from keras_prelu.training.candidates import Candidate, candidates
from keras_prelu.training.config import FitConfig, SlopeConfig
from keras_prelu.training.fit import lowest_selection_loss
from keras_prelu.training.optimizers import check_optimizer
from keras_prelu.training.preparation import ModelPreparer
from keras_prelu.training.recipe_search import OnTrial, RecipeTrial, search_recipe, timed_loss
from keras_prelu.training.search_budget import (
    LEAST_STEPS,
    LEAST_TRIALS,
    ROUNDS,
    USUAL_BUDGET,
    advancing_of,
    steps_of_round,
)
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.time_limit import OutOfTime, TimeLimit
from keras_prelu.utils.checks import check_integer, check_number

__all__ = ["RecipeTrials", "try_recipes"]

_LEAST_SAMPLES = 10
_TIMED_STEPS = (LEAST_STEPS, 3 * LEAST_STEPS)
_PLANNED = 0.75
"""The share of the time that is planned for: what each epoch takes beside its steps is not timed,
and without time for the second round the first one decides alone."""
_OVERRUN = 1.1
"""Up to so many times the time that was given, nothing is said."""


@dataclass(frozen=True, kw_only=True)
class RecipeTrials:
    """Short trainings by the recipes that are worth a trial for a model.

    Attributes:
        recipe: Str. The recipe with the lowest loss in the last round.
        multiplier: Float. Ratio of its slopes' learning rate to that of the weights.
        held_back: Int. The number of samples that no training saw, on which losses are measured.
        trials: Tuple of `RecipeTrial`. All short trainings, in order.
        left_out: Tuple of str. The recipes for which there was no time.
        seconds: Float. How long everything took.
        limit: Float or None. How long it was to take at most; None if the steps were given.
    """

    recipe: str
    multiplier: float
    held_back: int
    trials: tuple[RecipeTrial, ...]
    left_out: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    limit: float | None = field(default=None, compare=False)

    @property
    def note(self) -> str:
        """What the limit of time led to, or "" if there was time for all trainings."""
        if self.limit is None:
            return ""
        sentences = []
        if self.seconds > _OVERRUN * self.limit:
            least = (
                f": two recipes with {self.trials[0].steps} steps each are the least that can be"
                " compared"
            )
            sentences.append(
                f"The trials took {self.seconds:.0f} s and were to take"
                f" {self.limit:g}{least if len(self.trials) == LEAST_TRIALS else ''}."
            )
        if self.left_out:
            sentences.append(f"There was no time to try {', '.join(self.left_out)}.")
        if all(trial.round == 1 for trial in self.trials):
            sentences.append("There was no time to train the best ones for longer.")
        return " ".join(sentences)

    @property
    def latest(self) -> tuple[RecipeTrial, ...]:
        """The last trial of each candidate, those of the last round first, by loss."""
        last = {(trial.recipe, trial.multiplier): trial for trial in self.trials}
        return tuple(sorted(last.values(), key=lambda trial: (-trial.round, trial.loss)))


@models_by_name("model")
@keeps_state("model")
def try_recipes(
    model: ModelLike,
    data: Any,
    *,
    seconds: float = 20.0,
    steps: int | None = None,
    fit: FitConfig | None = None,
    on_trial: OnTrial | None = None,
) -> RecipeTrials:
    """Try the recipes that are worth it on new data, in short trainings.

    Nothing that is measured before training tells how much a recipe gains; this does. A fifth of
    the samples is held back. All candidates, the ReLU model as it is among them, get equally many
    steps, and the best third of them three times as many in a second round. These are the trials of
    `finetune` with `recipe="auto"` and the same settings, shortened where they would take too long.
    Whether the difference is more than noise is the verdict of `finetune`.

    Args:
        model: Keras model. The trained ReLU model. Not changed.
        data: `Samples`, a pair (x, y), or a data set that ends. The new samples, with labels.
        seconds: Float. How long it may take at most, if `steps` is None. Short trainings tell how
            long a step takes, and how many there is time for. When the time is over, the training
            that runs is dropped, and what is left is not tried (`RecipeTrials.note`). Two recipes
            get 8 steps each, however long that takes. Defaults to 20.
        steps: Int. Steps of each training in the first round, in place of `seconds`. Defaults to
            None.
        fit: `FitConfig`. Settings of the fine-tuning that the trials are for; `callbacks` and
            `verbose` have no effect. Defaults to those of `finetune`.
        on_trial: Function that is called with (number of trainings done, their total number).
            Defaults to None.

    Returns:
        A `RecipeTrials`.

    Raises:
        InvalidArgumentError: A ValueError; the model has PReLU layers, there is no loss, or an
            argument is out of range.
        DataError: Samples have no labels, do not fit the model, or are fewer than 10.
        FineTuningError: Keras can't train under the strategy.

    Example:

    >>> found = keras_prelu.try_recipes(model, (x_train[:200], y_train[:200]), steps=8)
    >>> found.recipe, [(trial.recipe, trial.loss) for trial in found.latest]

    References:
        Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943 (successive halving).
    """
    check_number("seconds", seconds, above=0.0)
    limit = TimeLimit(seconds)
    if steps is not None:
        check_integer("steps", steps, minimum=LEAST_STEPS)
    setup = _setup(model, data, FitConfig() if fit is None else fit)
    preparer = ModelPreparer(model, setup.train, setup.fit.seed)
    competing = candidates(model, setup.optimizer, effective=preparer.effective_preparations())
    search = functools.partial(search_recipe, competing, preparer.prepare, setup, on_trial=on_trial)
    if steps is not None:
        found = search(float(steps * len(competing)))
    else:
        in_round = _steps_of_round(preparer, setup, competing, limit)
        try:
            found = search(in_round, limit=limit)
        except OutOfTime:
            found = search(float(LEAST_STEPS * len(competing)), limit=limit)
    assert setup.selection is not None
    return RecipeTrials(
        recipe=found.candidate.recipe.name,
        multiplier=found.candidate.multiplier,
        held_back=len(setup.selection),
        trials=found.trials,
        left_out=_left_out(competing, found.trials),
        seconds=limit.taken(),
        limit=seconds if steps is None else None,
    )


def _left_out(competing: Sequence[Candidate], trials: Sequence[RecipeTrial]) -> tuple[str, ...]:
    """Return the names of the candidates that were not tried, with the rate if another one was."""
    tried = {(trial.recipe, trial.multiplier) for trial in trials}
    recipes = {name for name, _ in tried}
    return tuple(
        f"{name} at {each.multiplier:g}x" if name in recipes else name
        for each in competing
        if ((name := each.recipe.name), each.multiplier) not in tried
    )


def _setup(model: keras.Model, data: Any, fit: FitConfig) -> TrainingSetup:
    """Return the setup of all trainings, with a part of the samples held back."""
    samples = labelled_samples(model, data, fit.loss, "new")
    if has_prelu_layers(model):
        raise InvalidArgumentError(
            "Recipes start from the ReLU model, and this one has PReLU layers. Give the ReLU model."
            f" Received: model={model.name!r}"
        )
    if fit.optimizer is not None:
        check_optimizer(fit.optimizer, (model,))
    check_distribution()
    if len(samples) < _LEAST_SAMPLES:
        raise DataError(
            f"Trials need at least {_LEAST_SAMPLES} samples, of which a fifth is held back."
            f" Received: {len(samples)} samples"
        )
    train, selection = split(samples, SELECTION_SHARE, fit.seed)
    assert isinstance(train, CheckedSamples)
    assert isinstance(selection, CheckedSamples)
    return TrainingSetup(
        train=train, selection=selection, fit=fit, slopes=SlopeConfig(), models=(model,)
    )


def _steps_of_round(
    preparer: ModelPreparer,
    setup: TrainingSetup,
    competing: Sequence[Candidate],
    limit: TimeLimit,
) -> float:
    """Return how many steps the candidates share in a round: those of a fine-tuning's search, or
    fewer where these would take too long."""
    least = float(LEAST_STEPS * len(competing))
    usual = steps_of_round(setup, USUAL_BUDGET)
    if usual <= least:
        return least
    affordable = _affordable_steps(preparer, setup, competing, limit)
    return min(usual, float(affordable * len(competing)))


def _affordable_steps(
    preparer: ModelPreparer,
    setup: TrainingSetup,
    competing: Sequence[Candidate],
    limit: TimeLimit,
) -> int:
    """Return how many steps each candidate can have in the first round.

    What a training takes, c + t·steps with the time c for preparing and compiling, follows from two
    trainings of the ReLU model. Another one goes before them, since much is loaded only once; it is
    one of the trials if there is no time for more steps.
    """
    few, many = _TIMED_STEPS
    control, trainings = competing[0], len(competing) + advancing_of(len(competing))
    timed_loss(preparer.prepare, control, setup.shortened(few), limit, is_limited=False)
    try:
        short = _seconds_of(preparer, setup, control, few, limit)
        limit.record(few, short)
        if not limit.has_time_for(few, trainings):
            return LEAST_STEPS
        long = _seconds_of(preparer, setup, control, many, limit)
    except OutOfTime:
        return LEAST_STEPS
    step = max(long - short, 0.1 * long) / (many - few)
    limit.seconds_per_step = step
    fixed = max(0.0, short - few * step)
    left = _PLANNED * limit.left() - trainings * fixed
    return max(LEAST_STEPS, int(left / (ROUNDS * len(competing) * step)))


def _seconds_of(
    preparer: ModelPreparer,
    setup: TrainingSetup,
    candidate: Candidate,
    steps: int,
    limit: TimeLimit,
) -> float:
    """Return what a training takes that is done only to time it.

    Raises:
        OutOfTime: There is no time for it.
    """
    if not limit.has_time_for(steps):
        raise OutOfTime
    start = limit.taken()
    short = limit.ending(setup.shortened(steps))
    lowest_selection_loss(preparer.prepare(candidate.recipe).model, short)
    return limit.taken() - start
