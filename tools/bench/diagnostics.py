"""What diagnostics and the callback cost on the active backend."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tools.bench.records import OURS, DiagnosticsTime
from tools.common.machine import backend

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        size: Height and width of the images.
        samples: Samples of every measure.
        batch: Size of their batches.
        rounds: Rounds of the diagnostics.
        epochs: Epochs of the training that the callback watches.
        steps: Training steps in each of them.
    """

    size: int
    samples: int
    batch: int
    rounds: int
    epochs: int
    steps: int


FULL = Effort(size=32, samples=256, batch=64, rounds=11, epochs=7, steps=6)
TRIAL = Effort(size=8, samples=4, batch=2, rounds=2, epochs=2, steps=1)


@dataclass(frozen=True)
class Training:
    """A training that `SlopeMonitor` watched.

    Attributes:
        step: Seconds of a training step, the median.
        epoch_ends: Seconds that the callback took at the end of each epoch.
    """

    step: float
    epoch_ends: list[float]


def diagnostics(trial: bool) -> Iterator[DiagnosticsTime]:
    """Measure ratios to `predict` over the same samples, and an epoch's end of the callback in
    training steps."""
    import numpy as np

    from tools.bench.activations import ACTIVATIONS
    from tools.bench.networks import NORMALIZED

    effort = TRIAL if trial else FULL
    network = replace(NORMALIZED, input_shape=(effort.size, effort.size, 3))
    model = network.build(ACTIVATIONS[OURS])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(effort.samples, *network.input_shape)).astype("float32")
    yield DiagnosticsTime(
        backend=backend(),
        ratios=_ratios(model, x, effort),
        callback=_callback(model, x, effort),
    )


def _ratios(model: keras.Model, x: np.ndarray, effort: Effort) -> dict[str, Any]:
    import keras_prelu as kp
    from keras_prelu.diagnostics.second_moments import MomentsProbe
    from keras_prelu.sites.activity import ActivityProbe
    from keras_prelu.utils.timing import compare

    units, moments = ActivityProbe(model, x), MomentsProbe(model, x)
    calls = {
        "predict": lambda: model.predict(x, batch_size=effort.batch, verbose=0),
        "units": lambda: units([x], effort.batch),
        "signal, forward": lambda: moments([x], effort.batch),
        "signal, forward and gradients of 32 samples": lambda: kp.diagnostics.signal_by_depth(
            model, x, batch_size=effort.batch
        ),
    }
    times = compare(calls, "predict", rounds=effort.rounds, warm_up=1)
    return {
        name: (ratio.milliseconds, ratio.low, ratio.median, ratio.high)
        for name, ratio in times.items()
    }


def _callback(model: keras.Model, x: np.ndarray, effort: Effort) -> dict[str, float]:
    import numpy as np

    without, with_samples = _train(model, x, effort), _train(model, x, effort, samples=x)
    first, *later = with_samples.epoch_ends
    return {
        "step": (without.step + with_samples.step) / 2,
        "slopes": float(np.median(without.epoch_ends[1:])) / without.step,
        "samples": float(np.median(later)) / with_samples.step,
        "first": first,
    }


def _train(model: keras.Model, x: np.ndarray, effort: Effort, **arguments: Any) -> Training:
    import keras
    import numpy as np

    import keras_prelu as kp

    class Clock(keras.callbacks.Callback):
        """Times the training steps; the first callback, so that it does not time others."""

        def __init__(self) -> None:
            super().__init__()
            self.start, self.steps = 0.0, []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps.append(time.perf_counter() - self.start)

    class TimedMonitor(kp.callbacks.SlopeMonitor):
        """The monitor, with the seconds that it takes at the end of each epoch."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.epoch_ends: list[float] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            start = time.perf_counter()
            super().on_epoch_end(epoch, logs)
            self.epoch_ends.append(time.perf_counter() - start)

    rows = np.resize(np.arange(len(x)), effort.batch * effort.steps)
    with tempfile.TemporaryDirectory() as folder:
        monitor = TimedMonitor(
            log_dir=f"{folder}/logs", csv_file=f"{folder}/slopes.csv", **arguments
        )
        clock = Clock()
        model.fit(
            x[rows],
            rows % 10,
            batch_size=effort.batch,
            epochs=effort.epochs,
            callbacks=[clock, monitor],
            verbose=0,
        )
    # The first epoch compiles.
    step = float(np.median(clock.steps[effort.steps :]))
    return Training(step=step, epoch_ends=monitor.epoch_ends)
