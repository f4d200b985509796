"""A network that learns one task after the other: as ReLU, and converted once on the way.

The tasks are the bundled digits with their pixels permuted, by another permutation in each task, so
that what was learned before is of no use. A ReLU network learns such tasks worse and worse (Dohare
et al. 2024, https://doi.org/10.1038/s41586-024-07711-7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu import data
from keras_prelu.conversion.convert import convert
from keras_prelu.data.samples import Samples
from keras_prelu.revival import revive
from keras_prelu.training.slope_optimizer import SlopeOptimizer

__all__ = ["Curve", "GoingOn", "Task", "run_going_on"]

BEFORE, AFTER = 12, 5
_BATCH_SIZE = 32
_LEARNING_RATE = 3e-3


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The test errors of one way of going on, in percent.

    Attributes:
        name: Str. What was done after the first tasks.
        errors: Tuple of tuples of floats. For each seed, the error on each task at its end.
    """

    name: str
    errors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class GoingOn:
    """Networks that go on learning.

    Attributes:
        seeds: Tuple of ints. The seeds.
        before: Tuple of tuples of floats. For each seed, the test error of the ReLU network on each
            task before anything is changed, in percent.
        curves: Tuple of `Curve`, on the tasks after that: the ReLU network as it is, the converted
            one, and two networks that start afresh.
    """

    seeds: tuple[int, ...]
    before: tuple[tuple[float, ...], ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Digits whose pixels are permuted.

    Attributes:
        train: `Samples` to learn.
        test: `Samples` that errors are measured on.
        seed: Int. Seed of the order in which every network sees the samples.
    """

    train: Samples
    test: Samples
    seed: int


def run_going_on(
    seeds: Sequence[int], *, epochs: int, on_progress: Callable[[str], None]
) -> GoingOn:
    """Train a ReLU network on twelve tasks, and it and three others on five more, for each seed.

    Args:
        seeds: Sequence of int. Seeds of initialization, tasks and data order.
        epochs: Int. Epochs of each task.
        on_progress: Function that is called with the name of each stage as it begins.
    """
    digits = data.load("digits")
    before: list[tuple[float, ...]] = []
    errors: dict[str, list[tuple[float, ...]]] = {}
    for seed in seeds:
        tasks = [_task(digits, seed, number) for number in range(BEFORE + AFTER)]
        first, later = tasks[:BEFORE], tasks[BEFORE:]
        on_progress(f"seed {seed}: a ReLU network learns {BEFORE} tasks")
        relu = _compiled(_network(seed), _adam())
        before.append(_learn(relu, first, epochs))
        # The networks that start from this one are made before it goes on.
        others = {
            "converted once": _converted(relu, later[0], seed),
            "fresh ReLU network": _compiled(_network(seed + 1000), _adam()),
            "fresh network with slopes": _with_slopes(convert(_network(seed + 1000))),
        }
        for name, model in {"ReLU going on": relu, **others}.items():
            on_progress(f"seed {seed}: {name}, {AFTER} tasks")
            errors.setdefault(name, []).append(_learn(model, later, epochs))
    return GoingOn(
        seeds=tuple(seeds),
        before=tuple(before),
        curves=tuple(Curve(name=name, errors=tuple(each)) for name, each in errors.items()),
    )


def _task(digits: data.Dataset, seed: int, number: int) -> Task:
    assert digits.test is not None
    order = np.random.default_rng([seed, number]).permutation(64)

    def permuted(samples: Samples) -> Samples:
        return Samples(samples.x.reshape(-1, 64)[:, order], samples.y)

    return Task(train=permuted(digits.train), test=permuted(digits.test), seed=1000 * seed + number)


def _network(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    hidden = [
        keras.layers.Dense(100, activation="relu", kernel_initializer="he_normal") for _ in range(3)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def _converted(relu: keras.Model, task: Task, seed: int) -> keras.Model:
    """Return a copy of the ReLU network whose dead units are revived, with free slopes from 0."""
    model = keras.models.clone_model(relu)
    model.set_weights(relu.get_weights())
    revive(model, task.train.x, seed=seed)
    return _with_slopes(convert(model))


def _with_slopes(model: keras.Model) -> keras.Model:
    return _compiled(model, SlopeOptimizer(_adam()))


def _adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(_LEARNING_RATE)


def _compiled(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Steps are so short that starting each one alone would take longer than computing it. Keras has
    # no such option on PyTorch.
    steps = 1 if keras.backend.backend() == "torch" else 45
    model.compile(optimizer, loss, steps_per_execution=steps)
    return model


def _learn(model: keras.Model, tasks: Sequence[Task], epochs: int) -> tuple[float, ...]:
    """Train a network on one task after the other, and return the error on each at its end."""
    errors = []
    for task in tasks:
        keras.utils.set_random_seed(task.seed)
        model.fit(task.train.x, task.train.y, batch_size=_BATCH_SIZE, epochs=epochs, verbose=0)
        logits = keras.ops.convert_to_numpy(model.predict_on_batch(task.test.x))
        errors.append(100.0 * float(np.mean(logits.argmax(axis=-1) != task.test.y)))
    return tuple(errors)
