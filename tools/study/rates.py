"""Learning rates of the fine-tuning: by how much trained networks become better or worse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from tools.common.fashion_mnist import fashion_mnist
from tools.common.tasks import Split, Task, digits, trained, with_noise

__all__ = ["RATES", "Rate", "measure_rates", "rate_tasks"]

L = keras.layers

RATES = (1e-4, 3e-4, 1e-3, 3e-3)
_FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
"""The folder of Debian's package dataset-fashion-mnist."""


@dataclass(frozen=True)
class Rate:
    """Errors on test samples before and after a fine-tuning at one rate.

    Attributes:
        task: Name of the task.
        seed: Seed of the training and of the fine-tuning.
        rate: Initial learning rate of Adam.
        errors: Error by "incoming", "relu" (the control) and "identity": in percent for
            classifiers, otherwise the loss.
        losses: Mean test loss by the same names.
    """

    task: str
    seed: int
    rate: float
    errors: dict[str, float]
    losses: dict[str, float]


@dataclass(frozen=True)
class RateTask(Task):
    """A network to be trained, and then fine-tuned on all or some of the samples.

    Attributes:
        tuned_on: Number of training samples to fine-tune on; None for all.
    """

    tuned_on: int | None = None


def rate_tasks() -> Iterator[RateTask]:
    """Yield the tasks: networks with capacity to spare, trained until their rate was 0."""
    yield RateTask(name="digits, MLP 2 × 128 units", build=_mlp, samples=digits, epochs=30)
    yield RateTask(
        name="noisy digits, convolutions", build=_convolutions, samples=_noisy, epochs=30
    )
    if _FASHION.is_dir():
        yield RateTask(
            name="Fashion-MNIST, MLP 2 × 256 units", build=_mlp_256, samples=_fashion, epochs=12
        )
        yield RateTask(
            name="Fashion-MNIST, convolutions + BN", build=_normalized, samples=_fashion, epochs=12
        )
        for name, build in (("MLP 2 × 256 units", _mlp_256), ("convolutions + BN", _normalized)):
            yield RateTask(
                name=f"Fashion-MNIST, {name}, then 1,000 samples",
                build=build,
                samples=_fashion_at_length,
                epochs=12,
                tuned_on=1000,
            )


def measure_rates(task: RateTask, seed: int) -> Iterator[Rate]:
    """Train a task's network, and fine-tune it and its exact conversion at each rate."""
    model = trained(task, seed)
    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    split = task.samples(seed)
    for rate in RATES:
        result = kp.finetune(
            converted,
            split.train if task.tuned_on is None else split.train.take(slice(0, task.tuned_on)),
            split.test,
            original=model,
            epochs=min(8, task.epochs // 3),
            learning_rate=rate,
            seed=seed,
        )
        assert result.control is not None
        networks = {
            "incoming": model,
            "relu": result.control.model,
            "identity": result.model,
        }
        losses = {name: _loss(task, network, split.test) for name, network in networks.items()}
        scores = {
            "incoming": result.control.score_before,
            "relu": result.control.score_after,
            "identity": result.prelu.score_after,
        }
        errors = {
            name: 100.0 * (1.0 - score) if task.classifies else score
            for name, score in scores.items()
        }
        yield Rate(task=task.name, seed=seed, rate=rate, errors=errors, losses=losses)
    keras.backend.clear_session()


def _loss(task: Task, model: keras.Model, samples: Samples) -> float:
    outputs = model.predict(samples.x, batch_size=256, verbose=0)
    return float(
        np.mean(keras.ops.convert_to_numpy(keras.losses.get(task.loss)(samples.y, outputs)))
    )


def _noisy(seed: int) -> Split:
    """Return images of digits with much noise, which no network classifies without errors."""
    rng, split = np.random.default_rng(seed), digits()
    return Split(train=with_noise(split.train, rng, 0.4), test=with_noise(split.test, rng, 0.4))


def _fashion(seed: int, samples: int = 5_000) -> Split:
    """Return images of clothes for training, and 5,000 for testing."""
    rows = np.random.default_rng(seed).permutation(60_000)[:samples]
    split = fashion_mnist(_FASHION)
    return Split(train=split.train.take(rows), test=split.test.take(slice(0, 5_000)))


def _fashion_at_length(seed: int) -> Split:
    """Return 20,000 images for training: many more than those of the fine-tuning."""
    return _fashion(seed, 20_000)


def _dense(width: int, inputs: tuple[int, ...]) -> keras.Model:
    hidden = [L.Dense(width, "relu", kernel_initializer="he_normal") for _ in range(2)]
    return keras.Sequential([keras.Input(inputs), L.Flatten(), *hidden, L.Dense(10)])


def _mlp() -> keras.Model:
    return _dense(128, (8, 8, 1))


def _mlp_256() -> keras.Model:
    return _dense(256, (28, 28, 1))


def _convolutions() -> keras.Model:
    layers = [L.Conv2D(16, 3, padding="same", activation="relu") for _ in range(3)]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, L.GlobalAveragePooling2D(), L.Dense(10)]
    )


def _normalized() -> keras.Model:
    layers: list[Any] = []
    for filters in (16, 32, 64):
        layers += [
            L.Conv2D(filters, 3, strides=2, padding="same", use_bias=False),
            L.BatchNormalization(momentum=0.9),
            L.ReLU(),
        ]
    return keras.Sequential(
        [keras.Input((28, 28, 1)), *layers, L.GlobalAveragePooling2D(), L.Dense(10)]
    )
