"""Which recipe suits a model: a portfolio tried in short trainings, by successive halving on
samples that nothing is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from keras_prelu.data.samples import Samples
from keras_prelu.errors import FineTuningError, InvalidArgumentError
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.fit import Budget, lowest_loss
from keras_prelu.training.recipes import Prepared, Recipe
from keras_prelu.training.slope_optimizer import SlopeTraining

__all__ = ["LEAST_BUDGET", "RecipeTrial", "search"]

LEAST_BUDGET = 1.5
"""Times one fine-tuning: what is left for the search beside the final run must be worth
something."""
_ROUNDS = 2
_KEPT = 3  # one in so many goes into the second round, two at least
_LEAST_STEPS = 8


@dataclass(frozen=True)
class RecipeTrial:
    """One short training.

    Attributes:
        recipe: The recipe's name.
        round: 1 or 2.
        steps: Training steps that it got.
        loss: The lowest loss on the selection samples that an epoch ended with; infinite where the
            training failed.
    """

    recipe: str
    round: int
    steps: int
    loss: float


def search(
    recipes: Sequence[Recipe],
    prepare: Callable[[Recipe], Prepared],
    budget: Budget,
    times: float,
    slope_training: SlopeTraining,
    on_trial: Callable[[int, int], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Recipe, tuple[RecipeTrial, ...]]:
    """The recipe with the lowest loss, and what was tried.

    Two rounds share what the budget leaves beside the final run. In the first all recipes get the
    same number of steps, in the second the best third of them, at least 8 steps each where two of
    them can have as many; each training is one of its own, whose learning rate decays to 0 within
    it. The control is one of the recipes.

    Args:
        recipes: In the order in which they are worth a try. Where the budget is too small for all,
            the last are left out.
        prepare: Makes a model ready by a recipe; asked for each training, so that only one model is
            held at a time.
        budget: That of the final run, with selection samples.
        times: How many times one fine-tuning may be spent in all, the final run counted in and its
            control left out.
        slope_training: How slopes are trained, but for the multiplier, which is the recipe's.
        on_trial: Called with (trainings done, trainings in all).
        checkpoints: Where the losses of trainings are kept, which are then not done again.

    Raises:
        InvalidArgumentError: A ValueError; `times` is below 1.5, the training data is a stream, or
            the training has so few steps that a search can't stay within the budget.
    """
    if times < LEAST_BUDGET:
        raise InvalidArgumentError(
            f"`budget` must be at least {LEAST_BUDGET}, times one fine-tuning. Received:"
            f" budget={times}"
        )
    if not isinstance(budget.train, Samples):
        raise InvalidArgumentError(
            'recipe="auto" needs training samples as arrays, of which it takes parts. Name a recipe'
            " for a stream."
        )
    whole = budget.steps() or 0
    spent = (times - 1.0) * whole / _ROUNDS
    if spent < 2:
        raise InvalidArgumentError(
            f"A search within {times:g} times {whole} training steps leaves none to try two recipes"
            " with: give more epochs or a larger `budget`, or name a recipe."
        )
    chosen = list(recipes)[: max(2, int(spent // _LEAST_STEPS))]
    second = max(2, math.ceil(len(chosen) / _KEPT))
    total = len(chosen) + second
    trials: list[RecipeTrial] = []
    known = [] if checkpoints is None else checkpoints.losses()
    for number, kept in ((1, len(chosen)), (2, second)):
        ranked = sorted(chosen, key=lambda recipe: _loss(trials, recipe)) if trials else chosen
        chosen = ranked[:kept]
        short = budget.shortened(int(spent // len(chosen)))
        for recipe in chosen:
            done = len(trials) < len(known)
            loss = (
                known[len(trials)]
                if done
                else _trained_loss(prepare(recipe), short, slope_training)
            )
            trials.append(RecipeTrial(recipe.name, number, short.steps() or 0, loss))
            if checkpoints is not None and not done:
                checkpoints.add_loss(loss)
            if on_trial is not None:
                on_trial(len(trials), total)
    best = min(chosen, key=lambda recipe: _loss(trials, recipe))
    return best, tuple(trials)


def _loss(trials: Sequence[RecipeTrial], recipe: Recipe) -> float:
    """In the last round that it was in."""
    return next(trial.loss for trial in reversed(trials) if trial.recipe == recipe.name)


def _trained_loss(prepared: Prepared, budget: Budget, slope_training: SlopeTraining) -> float:
    try:
        loss = lowest_loss(
            prepared.model,
            budget,
            replace(slope_training, multiplier=prepared.recipe.slope_multiplier),
        )
    except FineTuningError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf
