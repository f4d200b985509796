"""One setting with one seed: the ReLU network that goes on, and every other method from the same
weights on the same tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np

from tools.study.continual.methods import BATCH_SIZE, EPOCHS, GOING_ON, Method, methods
from tools.study.continual.settings import Setting
from tools.study.continual.streams import ContinualTask

__all__ = ["Continual", "measure_setting"]

_DIGITS = 5


@dataclass(frozen=True, kw_only=True)
class Continual:
    """What one method reached on the tasks after the change.

    Attributes:
        setting: Name of the setting.
        learned: Number of tasks that the ReLU network had learned before.
        seed: Seed of the tasks and the trainings.
        method: Name of the method.
        errors: Error on each of the following tasks at its end: the share of wrong classes, or the
            mean squared error over the variance. Up to the first one whose outputs are not finite.
        diverged: Whether the outputs became infinite or NaN.
        choice: What "auto" chose, or "".
    """

    setting: str
    learned: int
    seed: int
    method: str
    errors: tuple[float, ...]
    diverged: bool = False
    choice: str = ""

    @property
    def mean(self) -> float:
        """Mean error; infinite if the network diverged."""
        return math.inf if self.diverged else float(np.mean(self.errors))


def measure_setting(
    setting: Setting, seed: int, is_measured: Callable[[int, str], bool]
) -> Iterator[Continual]:
    """Yield the results of all methods that are not measured yet.

    Args:
        setting: The setting.
        seed: Seed of the tasks and the trainings.
        is_measured: Tells of a number of tasks learned and a method's name whether its result is
            there already.
    """
    ways = [*methods(setting, seed)]
    missing = {
        learned: [way for way in ways if not is_measured(learned, way.name)]
        for learned in setting.learned
    }
    relu_missing = [each for each in setting.learned if not is_measured(each, GOING_ON)]
    if not relu_missing and not any(missing.values()):
        return
    snapshots, errors = _going_on(setting, seed, whole=bool(relu_missing))
    for learned in setting.learned:
        common = {"setting": setting.name, "learned": learned, "seed": seed}
        if learned in relu_missing:
            following = errors[learned : learned + setting.following]
            yield Continual(**common, method=GOING_ON, **_up_to_divergence(following))
        for way in missing[learned]:
            yield _continued(setting, seed, snapshots[learned], learned, way)
        keras.backend.clear_session()


def _going_on(
    setting: Setting, seed: int, whole: bool
) -> tuple[dict[int, keras.Model], list[float]]:
    """Train the ReLU network on one task after the other.

    Returns:
        The networks as they were after the numbers of tasks of the setting; and the errors on each
        task at its end.
    """
    keras.utils.set_random_seed(seed)
    model = setting.build()
    model.compile(setting.optimizer(), setting.loss)
    snapshots: dict[int, keras.Model] = {}
    errors = []
    last = max(setting.learned)
    for number in range(last + (setting.following if whole else 0) + 1):
        if number in setting.learned:
            snapshots[number] = keras.models.clone_model(model)
            snapshots[number].set_weights(model.get_weights())
        task = setting.stream(seed, number)
        _learn(model, task, seed, number)
        errors.append(_error(model, task))
    return snapshots, errors


def _continued(
    setting: Setting, seed: int, relu: keras.Model, learned: int, way: Method
) -> Continual:
    prepared = way.start(relu, setting.stream(seed, learned))
    model, errors = prepared.model, []
    for number in range(learned, learned + setting.following):
        task = setting.stream(seed, number)
        if number >= learned + prepared.learned:
            if way.before_task is not None:
                way.before_task(model, task)
            _learn(model, task, seed, number)
        errors.append(_error(model, task))
        if not math.isfinite(errors[-1]):
            break
    return Continual(
        setting=setting.name,
        learned=learned,
        seed=seed,
        method=way.name,
        choice=prepared.choice,
        **_up_to_divergence(errors),
    )


def _learn(model: keras.Model, task: ContinualTask, seed: int, number: int) -> None:
    # Every method sees the samples of a task in the same order.
    keras.utils.set_random_seed(1000 * seed + number)
    model.fit(task.train.x, task.train.y, epochs=EPOCHS, batch_size=BATCH_SIZE, verbose=0)


def _error(model: keras.Model, task: ContinualTask) -> float:
    """Return the share of wrong classes or the relative squared error; infinite for NaN."""
    outputs = model.predict(task.test.x, batch_size=512, verbose=0)
    if not np.isfinite(outputs).all():
        return math.inf
    if outputs.shape[-1] > 1:
        return float(np.mean(np.argmax(outputs, axis=-1) != task.test.y))
    return float(np.mean(np.square(outputs - task.test.y)) / np.var(task.test.y))


def _up_to_divergence(errors: list[float]) -> dict[str, object]:
    finite = [round(error, _DIGITS) for error in errors if math.isfinite(error)]
    return {"errors": tuple(finite), "diverged": len(finite) < len(errors)}
