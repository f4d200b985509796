"""Search for the recipe that suits a model.

All recipes get short trainings by successive halving, judged on samples that are used for no other
judgement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_prelu.data.samples import Samples
from keras_prelu.errors import ConversionError, FineTuningError
from keras_prelu.training.candidates import Candidate
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.fit import lowest_selection_loss
from keras_prelu.training.preparation import PreparedModel
from keras_prelu.training.recipes import Recipe
from keras_prelu.training.search_budget import LEAST_STEPS, LEAST_TRIALS, advancing_of
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.time_limit import OutOfTime, TimeLimit

__all__ = [
    "RecipeSearch",
    "RecipeTrial",
    "search_recipe",
    "timed_loss",
]

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
    limit: TimeLimit | None = None,
) -> RecipeSearch:
    """Find the candidate with the lowest loss on the selection samples.

    In the first round all candidates get the same number of steps. In the second round the best
    third of them do, with at least 8 steps each if two recipes can have that many. There is no
    second round if it would have no more steps than the first one, as for two candidates. Each
    short training is complete: its learning rate decays to 0 within it. The control is one of the
    candidates. Of a stream, which should be shuffled, the first batches are read into memory, as
    many as a short training has steps.

    Where there is a limit of time, candidates at the end for which none is left are left out, and
    the second round is shortened or left out. Two candidates with at most 8 steps each are trained
    whatever that takes.

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
        limit: `TimeLimit`. Defaults to None: all trainings are done.

    Raises:
        OutOfTime: The limit ended one of the first two trainings, which had more than 8 steps.
    """
    if not isinstance(setup.train, Samples):
        # No training takes more batches: each round has two candidates or more.
        setup = setup.on_first_batches(math.ceil(steps / 2))
    competing = list(candidates)[: max(2, int(steps // LEAST_STEPS))]
    trials: list[RecipeTrial] = []
    trainer = _ShortTrainings(prepare, setup, on_trial, checkpoints, limit, trials)
    advancing = advancing_of(len(competing))
    in_first, in_second = int(steps // len(competing)), int(steps // advancing)
    if (setup.shortened(in_second).steps() or 0) <= (setup.shortened(in_first).steps() or 0):
        in_second = 0
    first = trainer.run(1, competing, in_first, later=advancing if in_second else 0)
    competing = sorted(first, key=lambda candidate: _latest_loss(trials, candidate))[:advancing]
    in_second = trainer.affordable_steps(len(competing), in_second)
    if in_second:
        second = trainer.run(2, competing, in_second)
        competing = second or competing
    best = min(competing, key=lambda candidate: _latest_loss(trials, candidate))
    return RecipeSearch(candidate=best, trials=tuple(trials))


@dataclass
class _ShortTrainings:
    """The short trainings of a search.

    Attributes:
        prepare: Function that prepares a model by a recipe.
        setup: `TrainingSetup` of the final training.
        on_trial: Function, or None.
        checkpoints: `Checkpoints`, or None.
        limit: `TimeLimit`, or None.
        trials: List to which the trainings are added.
    """

    prepare: Callable[[Recipe], PreparedModel]
    setup: TrainingSetup
    on_trial: OnTrial | None
    checkpoints: Checkpoints | None
    limit: TimeLimit | None
    trials: list[RecipeTrial]

    def __post_init__(self) -> None:
        self._stored_losses = [] if self.checkpoints is None else self.checkpoints.losses()

    def run(
        self, number: int, competing: Sequence[Candidate], steps: int, *, later: int = 0
    ) -> list[Candidate]:
        """Train candidates for equally many steps, and return those for which there was time.

        None or two at least: a single one in the second round has no other to be compared with.

        Args:
            number: Int. 1 or 2, the number of the round.
            competing: Sequence of `Candidate`.
            steps: Int. Steps of each of them.
            later: Int. How many trainings the next round has. Defaults to 0.
        """
        short, before = self.setup.shortened(steps), len(self.trials)
        trained: list[Candidate] = []
        for candidate in competing:
            is_needed = number == 1 and len(trained) < LEAST_TRIALS and steps <= LEAST_STEPS
            try:
                loss = self._loss(candidate, short, is_limited=not is_needed)
            except OutOfTime:
                break
            trained.append(candidate)
            self.trials.append(
                RecipeTrial(
                    recipe=candidate.recipe.name,
                    multiplier=candidate.multiplier,
                    round=number,
                    steps=short.steps() or 0,
                    loss=loss,
                )
            )
            if self.on_trial is not None:
                self.on_trial(len(self.trials), before + len(competing) + later)
        if len(trained) < LEAST_TRIALS:
            del self.trials[before:]
            trained = []
            if number == 1:
                raise OutOfTime
        return trained

    def affordable_steps(self, trainings: int, steps: int) -> int:
        """Return for how many of the steps of the second round there is time, 0 if for no more than
        the first one had."""
        if self.limit is None or self.limit.has_time_for(steps, trainings):
            return steps
        affordable = self.limit.affordable_steps(trainings)
        return affordable if affordable > self.trials[0].steps else 0

    def _loss(self, candidate: Candidate, short: TrainingSetup, *, is_limited: bool) -> float:
        """Return the loss of a training, or a stored one.

        Raises:
            OutOfTime: There is no time for the training.
        """
        if len(self.trials) < len(self._stored_losses):
            return self._stored_losses[len(self.trials)]
        if self.limit is None:
            loss = _trial_loss(self.prepare, candidate, short)
        else:
            loss = timed_loss(self.prepare, candidate, short, self.limit, is_limited=is_limited)
        if self.checkpoints is not None:
            self.checkpoints.add_loss(loss)
        return loss


def timed_loss(
    prepare: Callable[[Recipe], PreparedModel],
    candidate: Candidate,
    short: TrainingSetup,
    limit: TimeLimit,
    *,
    is_limited: bool,
) -> float:
    """Return the loss of a short training, and note its time; one that is known is not repeated.

    Args:
        prepare: Function that prepares a model by a recipe.
        candidate: `Candidate`.
        short: `TrainingSetup` of the training.
        limit: `TimeLimit`.
        is_limited: Bool. Whether the training is left out or ended where there is no time.

    Raises:
        OutOfTime: There is no time for the training.
    """
    steps = short.steps() or 0
    key = (candidate.recipe.name, candidate.multiplier, steps)
    if key in limit.losses:
        return limit.losses[key]
    if is_limited and not limit.has_time_for(steps):
        raise OutOfTime
    start = limit.taken()
    loss = _trial_loss(prepare, candidate, limit.ending(short) if is_limited else short)
    limit.record(steps, limit.taken() - start)
    limit.losses[key] = loss
    return loss


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
