"""The steps of a search for a recipe: what a budget pays for, and how its rounds share it."""

from __future__ import annotations

import math

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.training.setup import TrainingSetup

__all__ = [
    "LEAST_STEPS",
    "LEAST_TRIALS",
    "ROUNDS",
    "TELLING_STEPS",
    "USUAL_BUDGET",
    "advancing_of",
    "checked_steps_of_round",
    "share_of_steps",
    "steps_of_round",
]

_LEAST_BUDGET = 1.5
"""The least budget, as a multiple of one fine-tuning.

The search needs a useful share of the budget in addition to the final training.
"""
USUAL_BUDGET = 3.0
ROUNDS = 2
LEAST_STEPS = 8
TELLING_STEPS = 2 * LEAST_STEPS
"""The least steps of the longest short training that the result of a search rests on.

With fewer, a round has no 8 steps for each of four candidates: next to the control, one recipe or
two are tried, and none for longer than its learning rate takes to fall to 0 in a dozen steps.
"""
LEAST_TRIALS = 2
"""How many trainings there must be to compare recipes."""
_ADVANCING = 3  # One in this many recipes enters the second round, but at least two do.


def share_of_steps(done: int, total: int) -> float:
    """Return the share of all training steps that a search has done.

    The rounds have equally many steps, and the second one fewer trainings.

    Args:
        done: Int. Number of trainings that are done.
        total: Int. Number of all trainings.
    """
    first = next(count for count in range(1, total) if count + advancing_of(count) >= total)
    if done <= first:
        return done / first / ROUNDS
    return (1 + (done - first) / (total - first)) / ROUNDS


def advancing_of(count: int) -> int:
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
    if budget < _LEAST_BUDGET:
        raise InvalidArgumentError(
            f"`budget` must be at least {_LEAST_BUDGET}, in times of one fine-tuning. Received:"
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
