"""One task with one seed: the control and every recipe, fine-tuned with the same budget, and the
recipe that the search chooses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import keras

import keras_prelu as kp
from keras_prelu.training.candidates import candidates
from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.fit import TrainedModel
from keras_prelu.training.preparation import PREPARATIONS
from keras_prelu.training.recipes import CONTROL, RECIPES, REVIVE
from tools.common.tasks import Task, trained

BATCH_SIZE = 32
LEARNING_RATE = 3e-3
"""These networks are not trained to their end, and gain more than at the default rate."""
CONTROLLED = "exp"
"""The recipe whose further controls are trained."""


@dataclass(frozen=True)
class Result:
    """Errors on test samples: in percent for classifiers, otherwise the loss.

    Attributes:
        task: Name of the task.
        seed: Seed of the training and of everything after it.
        dead: Units that were dead before fine-tuning.
        units: Number of units.
        errors: Error by name of the recipe; "auto" for what the search chose. A recipe that is no
            candidate has no error.
        chosen: Name of the recipe that the search chose.
        controls: Errors of `CONTROLLED` and of all its controls by name, trained together; empty
            where they were not trained.
    """

    task: str
    seed: int
    dead: int
    units: int
    errors: dict[str, float]
    chosen: str
    controls: dict[str, float] = field(default_factory=dict)


def measure(task: Task, seed: int) -> Result:
    """Train a task's network and fine-tune it with every recipe."""
    model = trained(task, seed)

    def tuned(recipe: str) -> kp.FineTuning:
        return _tuned(task, seed, model, recipe)

    auto = tuned("auto")
    dead = kp.diagnostics.dead_units(model, task.samples(seed).train.x)
    is_alive = not any(site.dead for site in dead)
    effective = set(PREPARATIONS) - ({REVIVE} if is_alive else set())
    tried = candidates(model, "adam", effective=effective)
    worth = {candidate.recipe.name for candidate in tried}
    errors = {recipe.name: _error(tuned(recipe.name)) for recipe in RECIPES if recipe.name in worth}
    errors["auto"] = errors[CONTROL.name] if auto.recipe == CONTROL.name else _error(auto)
    keras.backend.clear_session()
    return Result(
        task=task.name,
        seed=seed,
        dead=sum(site.dead for site in dead),
        units=sum(site.units for site in dead),
        errors=errors,
        chosen=auto.recipe,
    )


def with_controls(result: Result, task: Task) -> Result:
    """Return a result with further controls. What they are compared with is trained beside them,
    because deep networks differ between machines."""
    tuned = _tuned(
        task,
        result.seed,
        trained(task, result.seed),
        CONTROLLED,
        controls=tuple(CONTROLS),
        control=True,
    )
    keras.backend.clear_session()
    assert tuned.control is not None
    errors = {CONTROL.name: _error(tuned, tuned.control), CONTROLLED: _error(tuned)}
    return replace(
        result,
        controls=errors
        | {control.name: _error(tuned, control.trained) for control in tuned.controls},
    )


def _tuned(
    task: Task, seed: int, model: keras.Model, recipe: str, **settings: Any
) -> kp.FineTuning:
    split = task.samples(seed)
    epochs = max(1, task.epochs // 2)
    settings = {"control": False, **settings}
    return kp.finetune(
        model,
        split.train,
        split.test,
        recipe=recipe,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        seed=seed,
        **settings,
    )


def _error(result: kp.FineTuning, trained: TrainedModel | None = None) -> float:
    score = (trained or result.prelu).score_after
    return 100.0 * (1.0 - score) if _classifies(result) else score


def _classifies(result: kp.FineTuning) -> bool:
    return isinstance(
        keras.losses.get(result.model.loss), keras.losses.SparseCategoricalCrossentropy
    )
