"""One task with one seed: the control and every recipe, fine-tuned with the same budget, and what the search chooses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import click
import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.recipes import CONTROL, RECIPES, candidates
from keras_prelu.training.runs import Run
from tools.study.tasks import Task, trained

BATCH_SIZE = 32
CONTROLLED = "exp"
"""The recipe whose further controls are trained."""


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
        controls: For each further control of `CONTROLLED` by name; none where they weren't trained.
    """

    task: str
    seed: int
    dead: int
    units: int
    errors: dict[str, float]
    chosen: str
    controls: dict[str, float] = field(default_factory=dict)


def measure(task: Task, seed: int) -> Result:
    """All of it."""
    model = trained(task, seed)
    train, _ = task.samples(seed)

    def tuned(recipe: str) -> kp.FineTuning:
        return _tuned(task, seed, model, recipe)

    auto = tuned("auto")
    dead = kp.diagnostics.dead_units(model, train.x)
    worth = candidates(model, any(site.dead for site in dead))
    errors = {recipe.name: _error(tuned(recipe.name)) for recipe in RECIPES if recipe in worth}
    errors["auto"] = errors[CONTROL.name] if auto.recipe == CONTROL.name else _error(auto)
    keras.backend.clear_session()
    return Result(task.name, seed, sum(site.dead for site in dead), sum(site.units for site in dead), errors, auto.recipe)


def with_controls(result: Result, task: Task) -> Result:
    """The same with the further controls.

    Raises:
        ClickException: The recipe that they control gives another error here than is stored: pairs would be none.
    """
    tuned = _tuned(task, result.seed, trained(task, result.seed), CONTROLLED, tuple(CONTROLS))
    keras.backend.clear_session()
    if not np.isclose(_error(tuned), result.errors[CONTROLLED], rtol=1e-4):
        raise click.ClickException(
            f"'{task.name}' was measured on another backend or machine: measure it anew, or use KERAS_BACKEND as then."
        )
    return replace(result, controls={control.name: _error(tuned, control.run) for control in tuned.controls})


def _tuned(task: Task, seed: int, model: keras.Model, recipe: str, controls: tuple[str, ...] = ()) -> kp.FineTuning:
    train, test = task.samples(seed)
    epochs = max(1, task.epochs // 2)
    settings = {"epochs": epochs, "batch_size": BATCH_SIZE, "control": False, "seed": seed}
    return kp.finetune(model, None, train, test, recipe=recipe, controls=controls, **settings)


def _error(result: kp.FineTuning, run: Run | None = None) -> float:
    score = (run or result.prelu).score_after
    return 100.0 * (1.0 - score) if _classifies(result) else score


def _classifies(result: kp.FineTuning) -> bool:
    return isinstance(keras.losses.get(result.model.loss), keras.losses.SparseCategoricalCrossentropy)
