"""Search for the recipe that suits a model.

All recipes get short trainings by successive halving, judged on samples that are used for no other
judgement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_prelu.data.samples import Samples
from keras_prelu.errors import ConversionError, FineTuningError, InvalidArgumentError
from keras_prelu.training.candidates import Candidate
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.fit import lowest_selection_loss
from keras_prelu.training.preparation import PreparedModel
from keras_prelu.training.recipes import Recipe
from keras_prelu.training.setup import TrainingSetup

__all__ = [
    "LEAST_BUDGET",
    "LEAST_STEPS",
    "ROUNDS",
    "USUAL_BUDGET",
    "RecipeSearch",
    "RecipeTrial",
    "checked_steps_of_round",
    "search_recipe",
    "share_of_steps",
    "steps_of_round",
]

LEAST_BUDGET = 1.5
"""The least budget, as a multiple of one fine-tuning.

The search needs a useful share of the budget in addition to the final training.
"""
USUAL_BUDGET = 3.0
ROUNDS = 2
LEAST_STEPS = 8
_ADVANCING = 3  # One in this many recipes enters the second round, but at least two do.

OnTrial = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class RecipeTrial:
    """One short training.

    Attributes:
        recipe: Str. The recipe's name.
        multiplier: Float. Ratio of the slopes' learning rate to that of the weights.
        round: Int. 1 or 2.
        steps: Int. Number of training steps.
        loss: Float. The lowest loss on the selection samples at the end of an epoch; infinite if
            the model can't be prepared so or the training failed.
    """

    recipe: str
    multiplier: float
    round: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class RecipeSearch:
    """The candidate with the lowest loss in the last round, and all short trainings in order."""

    candidate: Candidate
    trials: tuple[RecipeTrial, ...]


def search_recipe(
    candidates: Sequence[Candidate],
    prepare: Callable[[Recipe], PreparedModel],
    setup: TrainingSetup,
    steps: float,
    *,
    on_trial: OnTrial | None = None,
    checkpoints: Checkpoints | None = None,
) -> RecipeSearch:
    """Find the candidate with the lowest loss on the selection samples.

    In the first round all candidates get the same number of steps. In the second round the best
    third of them do, with at least 8 steps each if two recipes can have that many. Each short
    training is complete: its learning rate decays to 0 within it. The control is one of the
    candidates. Of a stream, which should be shuffled, the first batches are read into memory, as
    many as a short training has steps.

    Args:
        candidates: Sequence of `Candidate`, the most promising first. If there are too few steps
            for all, the last ones are left out.
        prepare: Function that prepares a model by a recipe. It is called for each training, so that
            only one model at a time is in memory.
        setup: `TrainingSetup` of the final training, with selection samples.
        steps: Float. Training steps of each of the two rounds, which its candidates share.
        on_trial: Function that is called with (number of trainings done, their total number).
            Defaults to None.
        checkpoints: `Checkpoints` that store the losses of trainings; stored trainings are not
            repeated. Defaults to None.
    """
    if not isinstance(setup.train, Samples):
        # No training takes more batches: each round has two candidates or more.
        setup = setup.on_first_batches(math.ceil(steps / 2))
    competing = list(candidates)[: max(2, int(steps // LEAST_STEPS))]
    advancing = _advancing(len(competing))
    total = len(competing) + advancing
    stored_losses = [] if checkpoints is None else checkpoints.losses()
    trials: list[RecipeTrial] = []
    for round_number, size in ((1, len(competing)), (2, advancing)):
        if trials:
            competing.sort(key=lambda candidate: _latest_loss(trials, candidate))
        competing = competing[:size]
        short = setup.shortened(int(steps // size))
        for candidate in competing:
            if len(trials) < len(stored_losses):
                loss = stored_losses[len(trials)]
            else:
                loss = _trial_loss(prepare, candidate, short)
                if checkpoints is not None:
                    checkpoints.add_loss(loss)
            trials.append(
                RecipeTrial(
                    recipe=candidate.recipe.name,
                    multiplier=candidate.multiplier,
                    round=round_number,
                    steps=short.steps() or 0,
                    loss=loss,
                )
            )
            if on_trial is not None:
                on_trial(len(trials), total)
    best = min(competing, key=lambda candidate: _latest_loss(trials, candidate))
    return RecipeSearch(candidate=best, trials=tuple(trials))


def share_of_steps(done: int, total: int) -> float:
    """Return the share of all training steps that a search has done.

    The rounds have equally many steps, and the second one fewer trainings.

    Args:
        done: Int. Number of trainings that are done.
        total: Int. Number of all trainings.
    """
    first = next(count for count in range(total) if count + _advancing(count) >= total)
    if done <= first:
        return done / first / ROUNDS
    return (1 + (done - first) / (total - first)) / ROUNDS


def _advancing(count: int) -> int:
    """Return how many of the candidates of the first round enter the second one."""
    return max(2, math.ceil(count / _ADVANCING))


def steps_of_round(setup: TrainingSetup, budget: float) -> float:
    """Return the training steps of a round: the rounds share what the final training leaves.

    Args:
        setup: `TrainingSetup` of the final training.
        budget: Float. Largest cost of the search and the final training together, as a multiple of
            one fine-tuning; controls are not counted.
    """
    return (budget - 1.0) * (setup.steps() or 0) / ROUNDS


def checked_steps_of_round(setup: TrainingSetup, budget: float) -> float:
    """Return the training steps of a round, after checking that a search is possible.

    Args:
        setup: `TrainingSetup` of the final training.
        budget: Float. As in `steps_of_round`.

    Raises:
        InvalidArgumentError: A ValueError; `budget` is below 1.5, the training data is a stream
            without length, or the training has too few steps for a search within the budget.
    """
    if budget < LEAST_BUDGET:
        raise InvalidArgumentError(
            f"`budget` must be at least {LEAST_BUDGET}, in times of one fine-tuning. Received:"
            f" budget={budget}"
        )
    if setup.steps() is None:
        raise InvalidArgumentError(
            'recipe="auto" divides the steps of a training, and this stream has no length. Give'
            " `steps_per_epoch`, or name a recipe."
        )
    steps = steps_of_round(setup, budget)
    if steps < 2:
        raise InvalidArgumentError(
            f"A search within {budget:g} times {setup.steps() or 0} training steps leaves too few"
            " to try two recipes. Give more epochs or a larger `budget`, or name a recipe."
        )
    return steps


def _latest_loss(trials: Sequence[RecipeTrial], candidate: Candidate) -> float:
    """Return a candidate's loss in the last round that it took part in."""
    key = (candidate.recipe.name, candidate.multiplier)
    return next(trial.loss for trial in reversed(trials) if (trial.recipe, trial.multiplier) == key)


def _trial_loss(
    prepare: Callable[[Recipe], PreparedModel], candidate: Candidate, setup: TrainingSetup
) -> float:
    """Return the loss of a candidate, or infinity if the model can't be prepared or training fails.

    Not every model can be: a layer of the user's has no initializer, or no graph leads to it.
    """
    try:
        prepared = prepare(candidate.recipe)
    except ConversionError:
        if not candidate.recipe.preparations:
            raise
        return math.inf
    return _short_training_loss(prepared, setup.with_default_multiplier(candidate.multiplier))


def _short_training_loss(prepared: PreparedModel, setup: TrainingSetup) -> float:
    """Return the lowest selection loss of a training, or infinity if it fails."""
    try:
        loss = lowest_selection_loss(prepared.model, setup)
    except FineTuningError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf
