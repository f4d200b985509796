"""Short trials of recipes on held-back samples, without a final training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
from keras_prelu.training.recipe_search import (
    LEAST_STEPS,
    ROUNDS,
    USUAL_BUDGET,
    OnTrial,
    RecipeTrial,
    search_recipe,
    steps_of_round,
)
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.utils.checks import check_integer, check_number

__all__ = ["RecipeTrials", "try_recipes"]

_LEAST_SAMPLES = 10
_TIMED_STEPS = (4, 16)


@dataclass(frozen=True, kw_only=True)
class RecipeTrials:
    """Short trainings by the recipes that are worth a trial for a model.

    Attributes:
        recipe: Str. The recipe with the lowest loss in the last round.
        multiplier: Float. Ratio of its slopes' learning rate to that of the weights.
        held_back: Int. The number of samples that no training saw, on which losses are measured.
        trials: Tuple of `RecipeTrial`. All short trainings, in order.
    """

    recipe: str
    multiplier: float
    held_back: int
    trials: tuple[RecipeTrial, ...]

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
        seconds: Float. About how long it may take at most, if `steps` is None; two short trainings
            tell how long a step takes. Each recipe gets at least 8 steps. Defaults to 20.
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
    if steps is not None:
        check_integer("steps", steps, minimum=LEAST_STEPS)
    setup = _setup(model, data, FitConfig() if fit is None else fit)
    preparer = ModelPreparer(model, setup.train, setup.fit.seed)
    competing = candidates(model, setup.optimizer, has_dead_units=preparer.has_dead_units())
    if steps is None:
        in_round = _steps_of_round(preparer, setup, competing, seconds)
    else:
        in_round = float(steps * len(competing))
    search = search_recipe(competing, preparer.prepare, setup, in_round, on_trial=on_trial)
    assert setup.selection is not None
    return RecipeTrials(
        recipe=search.candidate.recipe.name,
        multiplier=search.candidate.multiplier,
        held_back=len(setup.selection),
        trials=search.trials,
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
    seconds: float,
) -> float:
    """Return how many steps the candidates share in a round: those of a fine-tuning's search, or
    fewer where these would take too long."""
    least = float(LEAST_STEPS * len(competing))
    usual = steps_of_round(setup, USUAL_BUDGET)
    if usual <= least:
        return least
    affordable = _affordable_steps(preparer, setup, competing, seconds)
    return min(usual, float(affordable * len(competing)))


def _affordable_steps(
    preparer: ModelPreparer,
    setup: TrainingSetup,
    competing: Sequence[Candidate],
    seconds: float,
) -> int:
    """Return how many steps each candidate can have in the first round.

    What a training takes, c + t·steps with the time c for preparing and compiling, follows from two
    trainings of the ReLU model. Another one goes before them, since much is loaded only once.
    """
    few, many = _TIMED_STEPS
    first, *taken = (
        _seconds_of(preparer, setup, competing[0], steps) for steps in (few, few, many)
    )
    step = max(taken[1] - taken[0], 0.1 * taken[1]) / (many - few)
    fixed = max(0.0, taken[0] - few * step)
    trainings = len(competing) + max(2, math.ceil(len(competing) / 3))
    left = seconds - first - sum(taken) - trainings * fixed
    return max(LEAST_STEPS, int(left / (ROUNDS * len(competing) * step)))


def _seconds_of(
    preparer: ModelPreparer, setup: TrainingSetup, candidate: Candidate, steps: int
) -> float:
    start = time.perf_counter()
    lowest_selection_loss(preparer.prepare(candidate.recipe).model, setup.shortened(steps))
    return time.perf_counter() - start
