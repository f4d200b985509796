"""The measurements, each in a process of its own. Prints one JSON object."""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

MEGABYTE = 1e6


@click.group()
def main() -> None:
    """Measure one thing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")


@main.command()
@click.argument("layers", type=int)
def depth(layers: int) -> None:
    """Seconds to load, convert and save a file of LAYERS layers in a row, under Python's ordinary
    recursion limit."""
    import keras_prelu as kp

    with _file(lambda: _chain(layers)) as path:
        seconds = {}
        start = time.perf_counter()
        model = kp.load_model(path)
        seconds["load"] = time.perf_counter() - start
        start = time.perf_counter()
        converted = kp.convert(model, rescale="none")
        seconds["convert"] = time.perf_counter() - start
        start = time.perf_counter()
        kp.save_model(converted, path.with_name("out.keras"))
        seconds["save"] = time.perf_counter() - start
    click.echo(json.dumps(seconds))


@main.command()
@click.argument("rounds", type=int)
def resnet(rounds: int) -> None:
    """The time of load + convert + save of ResNet50, as a ratio to load + save, taken in turn."""
    import keras

    import keras_prelu as kp
    from keras_prelu.utils.timing import compare

    with _file(lambda: keras.applications.ResNet50(weights=None)) as path:
        out = path.with_name("out.keras")

        def load_save() -> None:
            kp.save_model(kp.load_model(path), out, force=True)

        def load_convert_save() -> None:
            kp.save_model(kp.convert(kp.load_model(path), rescale="none"), out, force=True)

        found = compare(
            {"load + save": load_save, "with convert": load_convert_save},
            "load + save",
            rounds=rounds,
            warm_up=1,
        )
    ratio = found["with convert"]
    click.echo(json.dumps({"low": ratio.low, "median": ratio.median, "high": ratio.high}))


@main.command()
@click.argument("network")
def memory(network: str) -> None:
    """Peak memory of loading, converting and saving a file, as multiples of its weights."""
    import keras

    import keras_prelu as kp

    build = {
        "ResNet152": lambda: keras.applications.ResNet152(weights=None),
        "VGG16": lambda: keras.applications.VGG16(weights=None),
    }
    with _file(build[network]) as path:
        kp.convert(_chain(4), rescale="none")  # what is imported and allocated once
        before = _status("VmRSS")
        peaks = {}
        model = _peak(lambda: kp.load_model(path), "load", peaks)
        peaks["loaded"] = _status("VmRSS")
        weights = sum(int(weight.size) * weight.dtype.itemsize for weight in model.get_weights())
        converted = _peak(lambda: kp.convert(model, rescale="none"), "convert", peaks)
        _peak(lambda: kp.save_model(converted, path.with_name("out.keras")), "save", peaks)
    multiples = {step: (peak - before) / weights for step, peak in peaks.items()}
    click.echo(json.dumps({"weights": weights / MEGABYTE, **multiples}))


def _chain(layers: int) -> Any:
    import sys

    import keras

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(
        100_000
    )  # of Keras, which builds the model; what is measured starts from its file
    try:
        inputs = outputs = keras.Input((4,))
        for number in range(layers):
            outputs = (keras.layers.ReLU() if number % 2 else keras.layers.Dense(4))(outputs)
        return keras.Model(inputs, outputs)
    finally:
        sys.setrecursionlimit(limit)


class _file:  # noqa: N801  used as a function
    """A file of a model that another process builds, so that this one's memory and caches are
    fresh."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Path:
        path = Path(self._folder.name) / "model.keras"
        child = os.fork()
        if child == 0:
            import keras_prelu as kp

            kp.save_model(self._build(), path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise click.ClickException("The model could not be built.")
        return path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _peak(run: Callable[[], Any], step: str, peaks: dict[str, float]) -> Any:
    """The result of a step, whose peak of resident memory is noted (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts anew from here
    result = run()
    peaks[step] = _status("VmHWM")
    return result


def _status(name: str) -> float:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)
    )
    return int(line.split()[1]) * 1024.0


if __name__ == "__main__":
    main()
