"""The ways of going on that are compared, each as a user would write it.

A method gets the trained ReLU network and the first new task, and returns a compiled network that
then learns all new tasks by `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras

import keras_prelu as kp
from keras_prelu.training.preparation import ModelPreparer
from keras_prelu.training.recipes import CONTROL, RECIPES, Recipe, get_recipe
from tools.study.continual.settings import Setting
from tools.study.continual.streams import ContinualTask

__all__ = [
    "AUTO",
    "AUTO_REVIVED",
    "BATCH_SIZE",
    "EPOCHS",
    "FRESH",
    "GOING_ON",
    "REDO",
    "REVIVED",
    "Method",
    "Prepared",
    "methods",
]

EPOCHS, BATCH_SIZE = 10, 32

GOING_ON, AUTO = "ReLU going on", "auto"
_REVIVED_AT_EACH = "revived at each task"
REDO, AUTO_REVIVED = f"ReLU {_REVIVED_AT_EACH}", f"auto, {_REVIVED_AT_EACH}"
REVIVED = get_recipe("relu-revived").name
FRESH = ("fresh ReLU", "fresh, identity")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network that is ready to go on.

    Attributes:
        model: Keras model, compiled.
        learned: Number of the new tasks that it has learned already.
        choice: What "auto" chose, or "".
    """

    model: keras.Model
    learned: int = 0
    choice: str = ""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of going on.

    Attributes:
        name: Name in tables.
        start: Makes the network that goes on, from the trained ReLU network, which it leaves as it
            is, and the first new task.
        before_task: Is called with the network and each task before the network learns it.
    """

    name: str
    start: Callable[[keras.Model, ContinualTask], Prepared]
    before_task: Callable[[keras.Model, ContinualTask], object] | None = None


def methods(setting: Setting, seed: int) -> Iterator[Method]:
    """Yield all methods but going on as before, which is the training that they start from."""

    def compiled(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Prepared:
        model.compile(optimizer, setting.loss)
        return Prepared(model=model)

    def plain(model: keras.Model) -> Prepared:
        return compiled(model, setting.optimizer())

    def with_slopes(model: keras.Model) -> Prepared:
        return compiled(model, kp.SlopeOptimizer(setting.optimizer()))

    def fresh() -> keras.Model:
        keras.utils.set_random_seed(10_000 + seed)
        return setting.build()

    def by_recipe(recipe: Recipe) -> Callable[[keras.Model, ContinualTask], Prepared]:
        def start(model: keras.Model, task: ContinualTask) -> Prepared:
            prepared = ModelPreparer(model, task.train, seed).prepare(recipe).model
            return (with_slopes if recipe.converts else plain)(prepared)

        return start

    def auto(model: keras.Model, task: ContinualTask) -> Prepared:
        result = kp.finetune(
            model,
            task.train,
            task.test,
            selection=task.train if task.memorized else None,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            optimizer=setting.optimizer(),
            loss=setting.loss,
            control=False,
            seed=seed,
        )
        return Prepared(model=result.model, learned=1, choice=result.recipe)

    def copied(model: keras.Model, _: ContinualTask) -> Prepared:
        return plain(_copy(model))

    def revive(model: keras.Model, task: ContinualTask) -> None:
        kp.revive(model, task.train.x, seed=seed)

    yield Method(name="ReLU, optimizer reset", start=copied)
    yield Method(name=REDO, start=copied, before_task=revive)
    yield Method(name=FRESH[0], start=lambda _model, _task: plain(fresh()))
    yield Method(name=FRESH[1], start=lambda _model, _task: with_slopes(kp.convert(fresh())))
    for recipe in RECIPES:
        if recipe != CONTROL:
            yield Method(name=recipe.name, start=by_recipe(recipe))
    first = get_recipe("identity-revived")
    yield Method(
        name=f"{first.name}, {_REVIVED_AT_EACH}", start=by_recipe(first), before_task=revive
    )
    yield Method(name=AUTO, start=auto)
    yield Method(name=AUTO_REVIVED, start=auto, before_task=revive)


def _copy(model: keras.Model) -> keras.Model:
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied
