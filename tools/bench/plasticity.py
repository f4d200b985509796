"""What `PlasticityMonitor` costs in training, on the active backend.

Times are seconds of the processor, of all threads of this process, which other processes disturb
little.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.bench.records import MonitorTime
from tools.common.machine import backend

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        steps: Training steps of an epoch, of 32 samples each.
        epochs: Epochs of each training.
        rounds: Pairs of trainings, with and without the monitor.
    """

    steps: int
    epochs: int
    rounds: int


FULL = Effort(steps=100, epochs=6, rounds=4)
TRIAL = Effort(steps=2, epochs=2, rounds=2)
BATCH = 32


def plasticity(trial: bool) -> Iterator[MonitorTime]:
    """Measure an MLP and a convolutional network: single epochs that are recorded beside those that
    are not, and trainings with the monitor's defaults beside those without it, in turn."""
    for name, shape, build in (
        ("MLP, 3 x 100", (64,), _mlp),
        ("3 convolutions, 28 x 28", (28, 28, 1), _convolutions),
    ):
        yield _measured(name, shape, build(), TRIAL if trial else FULL)


def _measured(name: str, shape: tuple[int, ...], model: keras.Model, effort: Effort) -> MonitorTime:
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(effort.steps * BATCH, *shape)).astype("float32")
    y = rng.integers(0, 10, len(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    with tempfile.TemporaryDirectory() as folder:
        each = _epochs(model, x, y, effort, f"{folder}/each")
        default = _trainings(model, x, y, effort, f"{folder}/default")
    return MonitorTime(backend=backend(), network=name, **each, **default)


def _epochs(
    model: keras.Model, x: np.ndarray, y: np.ndarray, effort: Effort, folder: str
) -> dict[str, Any]:
    """Time the epochs of one training, every other one of which is recorded."""
    import keras
    import numpy as np

    import keras_prelu as kp

    begins, recordings = [], []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            begins.append(time.process_time())

    class EveryOther(kp.callbacks.PlasticityMonitor):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch % 2:
                start = time.process_time()
                super().on_epoch_end(epoch, logs)
                recordings.append(time.process_time() - start)

    monitor = EveryOther(f"{folder}/logs", f"{folder}.csv", samples=x, frequency=1)
    _fit(model, x, y, 2 * effort.epochs + 3, [Clock(), monitor])
    lengths = np.diff(begins)
    # The first epoch compiles the training, the second one the monitor.
    without, recorded = lengths[2::2], lengths[3::2]
    pairs = min(len(without), len(recorded))
    low, median, high = np.quantile(recorded[:pairs] / without[:pairs], [0.25, 0.5, 0.75])
    return {
        "epoch": float(np.median(without)),
        "recording": float(np.median(recordings[1:])),
        "first": recordings[0],
        "each": (float(low), float(median), float(high)),
    }


def _trainings(
    model: keras.Model, x: np.ndarray, y: np.ndarray, effort: Effort, folder: str
) -> dict[str, Any]:
    """Time trainings with and without the monitor, which chooses the epochs that it records."""
    import numpy as np

    import keras_prelu as kp

    spent = [0.0]

    class Timed(kp.callbacks.PlasticityMonitor):
        def on_train_begin(self, logs: Any = None) -> None:
            with _added(spent):
                super().on_train_begin(logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with _added(spent):
                super().on_epoch_end(epoch, logs)

        def on_train_end(self, logs: Any = None) -> None:
            with _added(spent):
                super().on_train_end(logs)

    monitor = Timed(f"{folder}/logs", f"{folder}.csv", samples=x)
    ratios, shares = [], []
    for number in range(effort.rounds + 1):  # The first round compiles.
        taken = {}
        for callbacks in ([], [monitor])[:: 1 if number % 2 else -1]:
            start, spent[0] = time.process_time(), 0.0
            _fit(model, x, y, effort.epochs, callbacks)
            taken[len(callbacks)] = time.process_time() - start
            if callbacks:
                shares.append(spent[0] / (taken[1] - spent[0]))
        ratios.append(taken[1] / taken[0])
    low, median, high = np.quantile(ratios[1:], [0.25, 0.5, 0.75])
    epochs = len({(record.training, record.epoch) for record in monitor.history})
    return {
        "default": (float(low), float(median), float(high)),
        "share": float(np.median(shares[1:])),
        "recorded": epochs / (effort.epochs * (effort.rounds + 1)),
    }


@contextmanager
def _added(spent: list[float]) -> Iterator[None]:
    """Add the time within the context to a sum."""
    start = time.process_time()
    yield
    spent[0] += time.process_time() - start


def _fit(
    model: keras.Model, x: np.ndarray, y: np.ndarray, epochs: int, callbacks: list[Any]
) -> None:
    model.fit(x, y, batch_size=BATCH, epochs=epochs, callbacks=callbacks, verbose=0)


def _mlp() -> keras.Model:
    import keras

    hidden = [keras.layers.Dense(100, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def _convolutions() -> keras.Model:
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
