"""The start of a fine-tuning: the choice of a recipe, and the models that are then trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_prelu.data.samples import CheckedSamples, Samples
from keras_prelu.training.candidates import Candidate, candidate_of, candidates
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.preparation import ModelPreparer, PreparedModel
from keras_prelu.training.recipe_search import OnTrial, RecipeTrial, search_recipe
from keras_prelu.training.recipes import AUTO, CONTROL, Recipe, control_of, get_recipe
from keras_prelu.training.search_budget import TELLING_STEPS, checked_steps_of_round
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.slope_multipliers import EQUAL, multiplier_of_model
from keras_prelu.utils.user_warnings import warn

__all__ = ["Choice", "Start", "choose_recipe", "start_as_given", "start_by_recipe"]

_MOST_ON_DISK = 4096
"""The number of samples on disk, drawn at random, on which dead units are found."""
_AS_GIVEN = Recipe(name="", summary="a converted model as it is")


@dataclass(frozen=True, kw_only=True)
class Start:
    """The models that are ready for the final trainings.

    Attributes:
        prepared: `PreparedModel`. The model to fine-tune.
        multiplier: Float. Ratio of its slopes' learning rate to that of the weights.
        incoming: Keras model. The model that was passed to be fine-tuned.
        original: Keras model. The ReLU model, or None if it is not known.
        prepared_original: Keras model. The ReLU model with the same preparations, if any of them
            changed it and it is to be a control; None otherwise.
        trials: Tuple of `RecipeTrial`. The short trainings that led to the recipe, if any.
    """

    prepared: PreparedModel
    multiplier: float
    incoming: keras.Model
    original: keras.Model | None
    prepared_original: keras.Model | None = None
    trials: tuple[RecipeTrial, ...] = ()

    @property
    def is_control(self) -> bool:
        """Whether the model to fine-tune by a recipe is the ReLU model as it is."""
        return bool(self.prepared.recipe.name) and self.prepared.model is self.original

    def as_relu(self) -> Start:
        """Return the start of the ReLU model as it is, which must be known."""
        assert self.original is not None
        return replace(
            self,
            prepared=PreparedModel(recipe=CONTROL, model=self.original),
            multiplier=EQUAL,
            prepared_original=None,
        )


def start_as_given(model: keras.Model, original: keras.Model | None, setup: TrainingSetup) -> Start:
    """Return the start of a converted model, which is trained as it is.

    Args:
        model: Keras model. The converted model.
        original: Keras model. The ReLU model that it was made from, or None.
        setup: `TrainingSetup`.
    """
    return Start(
        prepared=PreparedModel(recipe=_AS_GIVEN, model=model),
        multiplier=multiplier_of_model(model, setup.optimizer),
        incoming=model,
        original=original,
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recipe with the rate of its slopes, and the short trainings that led to it, if any."""

    candidate: Candidate
    trials: tuple[RecipeTrial, ...] = ()


def choose_recipe(
    recipe_name: str,
    original: keras.Model,
    setup: TrainingSetup,
    *,
    budget: float,
    on_trial: OnTrial | None,
    checkpoints: Checkpoints | None,
) -> Choice:
    """Return the recipe of a name; for "auto", the one that does best in short trainings.

    Args:
        recipe_name: Str. "auto" or the name of a recipe.
        original: Keras model. The ReLU model.
        setup: `TrainingSetup`, with selection samples.
        budget: Float. As in `finetune`.
        on_trial: Function, or None. As in `finetune`.
        checkpoints: `Checkpoints`, or None.
    """
    if recipe_name != AUTO:
        return Choice(candidate=candidate_of(get_recipe(recipe_name), original, setup.optimizer))
    preparer = _preparer(original, setup)
    search = search_recipe(
        candidates(
            original,
            setup.optimizer,
            effective=preparer.effective_preparations(),
            tries_rates=setup.slopes.multiplier is None,
        ),
        preparer.prepare,
        setup,
        checked_steps_of_round(setup, budget),
        on_trial=on_trial,
        checkpoints=checkpoints,
    )
    steps = search.trials[-1].steps
    if steps < TELLING_STEPS:
        warn(
            "The trainings of the search for a recipe were too short to tell recipes apart (steps:"
            f" {steps}). Give more `epochs` or a larger `budget`."
        )
    return Choice(candidate=search.candidate, trials=search.trials)


def start_by_recipe(
    choice: Choice, original: keras.Model, setup: TrainingSetup, *, control: bool
) -> Start:
    """Prepare a ReLU model by a recipe, and its control alike.

    Args:
        choice: `Choice`. The recipe, the rate of its slopes, and the trials.
        original: Keras model. The ReLU model.
        setup: `TrainingSetup`.
        control: Bool. Whether controls are trained.
    """
    preparer = _preparer(original, setup)
    recipe = choice.candidate.recipe
    prepared = preparer.prepare(recipe)
    # A preparation that changed nothing would make a second training of the control.
    effective = replace(recipe, preparations=prepared.effective)
    prepared_control = control_of(effective) if control else None
    return Start(
        prepared=prepared,
        multiplier=choice.candidate.multiplier,
        incoming=original,
        original=original,
        prepared_original=(
            None if prepared_control is None else preparer.prepare(prepared_control).model
        ),
        trials=choice.trials,
    )


def _preparer(original: keras.Model, setup: TrainingSetup) -> ModelPreparer:
    # Streams can't be read before the training, so dead units are found on the selection samples.
    samples = setup.train if isinstance(setup.train, Samples) else setup.selection
    assert isinstance(samples, CheckedSamples)
    if samples.on_disk and len(samples) > _MOST_ON_DISK:
        # A pass over all of them may take as long as an epoch.
        rng = np.random.default_rng(setup.fit.seed)
        samples = samples.take(np.sort(rng.permutation(len(samples))[:_MOST_ON_DISK]))
    return ModelPreparer(original, samples, setup.fit.seed, setup.sites)
