"""One task with one seed: the control and every recipe, fine-tuned with the same budget, and what the search chooses."""

from __future__ import annotations

from dataclasses import dataclass

import keras

import keras_prelu as kp
from keras_prelu.training.recipes import CONTROL, RECIPES, candidates
from tools.study.tasks import Task, trained

BATCH_SIZE = 32


@dataclass(frozen=True)
class Result:
    """Errors on test samples: in percent for classifiers, else the loss.

    Attributes:
        task: The task's name.
        seed: Of the training and everything after it.
        dead: Units that were dead before fine-tuning.
        units: Units in all.
        errors: For each recipe by name; "auto" for what the search chose. A recipe that is no candidate has the error of none.
        chosen: The name of the recipe that the search chose.
    """

    task: str
    seed: int
    dead: int
    units: int
    errors: dict[str, float]
    chosen: str


def measure(task: Task, seed: int) -> Result:
    """All of it."""
    model = trained(task, seed)
    train, test = task.samples(seed)
    epochs = max(1, task.epochs // 2)

    def tuned(recipe: str) -> kp.FineTuning:
        return kp.finetune(model, None, train, test, recipe=recipe, epochs=epochs, batch_size=BATCH_SIZE, control=False, seed=seed)

    auto = tuned("auto")
    dead = kp.diagnostics.dead_units(model, train.x)
    worth = candidates(model, any(site.dead for site in dead))
    errors = {recipe.name: _error(tuned(recipe.name)) for recipe in RECIPES if recipe in worth}
    errors["auto"] = errors[CONTROL.name] if auto.recipe == CONTROL.name else _error(auto)
    keras.backend.clear_session()
    return Result(task.name, seed, sum(site.dead for site in dead), sum(site.units for site in dead), errors, auto.recipe)


def _error(result: kp.FineTuning) -> float:
    return 100.0 * (1.0 - result.prelu.score_after) if _classifies(result) else result.prelu.score_after


def _classifies(result: kp.FineTuning) -> bool:
    return isinstance(keras.losses.get(result.model.loss), keras.losses.SparseCategoricalCrossentropy)
