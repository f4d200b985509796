"""Peak memory of calibrating beside that of one pass of the original, each in a process of its own.
Prints one JSON object (Linux)."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import click

CAP = 1e9
LAYERS = 10


@click.command()
@click.argument("what", type=click.Choice(["predict", "calibrate", "spilled"]))
@click.argument("samples", type=int)
def main(what: str, samples: int) -> None:
    """WHAT to do with SAMPLES images of 16 × 16 pixels.

    predict: all at once through the original; spilled: calibrate with 700 MB of activations in
    memory, for a cap of 1 GB.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    import keras
    import numpy as np

    import keras_prelu as kp
    from tools.calibration.measure import chain

    model = chain(LAYERS)
    x = np.random.default_rng(0).normal(size=(samples, 16, 16, 3)).astype("float32")
    warm = kp.convert(model, rescale="none")
    kp.calibrate(warm, model, x[:128])  # what is imported, compiled and allocated once
    model(keras.ops.convert_to_tensor(x[:128]))
    converted = kp.convert(model, rescale="none")
    limit = 0.7 * CAP if what == "spilled" else float("inf")
    runs: dict[str, Callable[[], object]] = {
        "predict": lambda: model(keras.ops.convert_to_tensor(x)),
        "calibrate": lambda: kp.calibrate(converted, model, x, memory_limit=limit),
    }
    peak = _peak(runs["predict" if what == "predict" else "calibrate"])
    digest = hashlib.sha256(
        b"".join(weights.tobytes() for weights in converted.get_weights())
    ).hexdigest()
    click.echo(json.dumps({"bytes": peak, "weights": digest}))


def _peak(run: Callable[[], object]) -> float:
    """The most memory of its own that the process had while something ran, over what it had
    before."""
    before, most, done = _own_memory(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, _own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return most - before


def _own_memory() -> float:
    """Anonymous resident memory: not that of files, which the system takes back when it likes."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("RssAnon")
    )
    return int(line.split()[1]) * 1024.0


if __name__ == "__main__":
    main()
