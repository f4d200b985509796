"""Measures on the active backend, in a process of its own: `KERAS_BACKEND=jax python -m
tools.diagnostics.measure`. Prints JSON."""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class Setting:
    """How much is measured: samples, in batches of which size, rounds, epochs, and train steps in
    each."""

    samples: int
    batch: int
    rounds: int
    epochs: int
    steps: int


FULL = Setting(samples=256, batch=64, rounds=11, epochs=7, steps=6)
TRIAL = Setting(samples=8, batch=4, rounds=2, epochs=4, steps=2)


def measure(setting: Setting) -> dict[str, Any]:
    """Ratios to `predict` over the same samples, and what a record of the callback costs, in train
    steps."""
    import keras
    import numpy as np

    import keras_prelu as kp
    from keras_prelu.diagnostics.signal import MomentsProbe
    from keras_prelu.sites.activity import ActivityProbe
    from keras_prelu.utils.timing import compare
    from tools.bench.activations import ACTIVATIONS
    from tools.bench.networks import NORMALIZED
    from tools.bench.records import OURS

    model = NORMALIZED.build(ACTIVATIONS[OURS])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(setting.samples, *NORMALIZED.input_shape)).astype("float32")
    units, moments = ActivityProbe(model), MomentsProbe(model)
    calls = {
        "predict": lambda: model.predict(x, batch_size=setting.batch, verbose=0),
        "units": lambda: units([x], setting.batch),
        "signal, forward": lambda: moments([x], setting.batch),
        "signal, forward and gradients of 32 samples": lambda: kp.diagnostics.signal_by_depth(
            model, x, batch_size=setting.batch
        ),
    }
    times = compare(calls, "predict", rounds=setting.rounds, warm_up=1)
    ratios = {
        name: [found.milliseconds, found.low, found.median, found.high]
        for name, found in times.items()
    }
    return {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "ratios": ratios,
        "record": _record(model, x, setting),
    }


def _record(model: Any, x: Any, setting: Setting) -> dict[str, float]:
    """Epochs with a record and without take turns in one training."""
    import keras
    import numpy as np

    import keras_prelu as kp

    class Clock(keras.callbacks.Callback):
        """First and last of the callbacks: how long the epochs' ends take, and a step."""

        def __init__(self) -> None:
            super().__init__()
            self.began, self.steps = 0.0, []

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.steps.append(time.perf_counter() - self.began)

    class Stopwatch(kp.callbacks.SlopeMonitor):
        """The monitor, timed."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.taken: list[float] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            start = time.perf_counter()
            super().on_epoch_end(epoch, logs)
            self.taken.append(time.perf_counter() - start)

    def train(**arguments: Any) -> tuple[list[float], float]:
        rows = np.resize(np.arange(len(x)), setting.batch * setting.steps)
        with tempfile.TemporaryDirectory() as folder:
            watch, clock = (
                Stopwatch(log_dir=f"{folder}/logs", csv_file=f"{folder}/slopes.csv", **arguments),
                Clock(),
            )
            callbacks = [clock, watch]
            model.fit(
                x[rows],
                rows % 10,
                batch_size=setting.batch,
                epochs=setting.epochs,
                callbacks=callbacks,
                verbose=0,
            )
        return watch.taken, float(np.median(clock.steps[setting.steps :]))

    (slopes, step), (measured, other) = train(), train(samples=x)
    first, *later = measured
    return {
        "step": (step + other) / 2,
        "slopes": float(np.median(slopes[1:])) / step,
        "samples": float(np.median(later)) / other,
        "first": first,
    }


@click.command()
@click.option("--trial", is_flag=True, help="Small and few, to see that everything runs.")
def main(trial: bool) -> None:
    """Measure and print."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    print(json.dumps(measure(TRIAL if trial else FULL)))


if __name__ == "__main__":
    main()
