"""What converting a file costs in time and memory. Each measurement runs in a process of its own:
`python -m tools.bench.scale depth 1000`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

from tools.bench.records import ConversionMemory, ConversionTime, DepthTime
from tools.common.machine import backend
from tools.common.processes import emit, json_lines, quiet
from tools.common.records import decode

MEGABYTE = 1e6
# glibc returns freed memory at once.
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        depths: Numbers of layers.
        processes: Processes for each of them.
        networks: Networks whose conversion's memory is measured, by constructor.
        resnet_rounds: Rounds of ResNet50; 0 leaves it out.
    """

    depths: tuple[int, ...]
    processes: int
    networks: tuple[str, ...]
    resnet_rounds: int


FULL = Effort(
    depths=(1000, 2000, 4000), processes=3, networks=("ResNet152", "VGG16"), resnet_rounds=7
)
TRIAL = Effort(depths=(100,), processes=1, networks=("MobileNet",), resnet_rounds=0)


def scale(trial: bool) -> Iterator[DepthTime | ConversionTime | ConversionMemory]:
    """Measure time on TensorFlow and memory on TensorFlow and PyTorch; nothing on JAX."""
    effort = TRIAL if trial else FULL
    if backend() == "tensorflow":
        for layers in effort.depths:
            yield _median([_process("depth", str(layers)) for _ in range(effort.processes)])
        if effort.resnet_rounds:
            yield _process("resnet", str(effort.resnet_rounds))
    if backend() in ("tensorflow", "torch"):
        for network in effort.networks:
            yield _process("memory", network, **RETURN_MEMORY)


def _process(*arguments: str, **environment: str) -> Any:
    (line,) = json_lines("tools.bench.scale", *arguments, environment=environment)
    return decode(line, (DepthTime, ConversionTime, ConversionMemory))


def _median(times: list[DepthTime]) -> DepthTime:
    steps = ("load", "convert", "save", "total")
    return DepthTime(
        backend=times[0].backend,
        layers=times[0].layers,
        **{step: median(getattr(result, step) for result in times) for step in steps},
    )


@click.group()
def main() -> None:
    """Measure one thing and print it as a JSON line."""
    quiet()


@main.command()
@click.argument("layers", type=int)
def depth(layers: int) -> None:
    """Measure the seconds to load, convert and save a file of LAYERS layers in a row, under
    Python's ordinary recursion limit."""
    import keras_prelu as kp

    with _model_file(lambda: _chain(layers)) as path:
        start = time.perf_counter()
        model = kp.load_model(path)
        loaded = time.perf_counter()
        converted = kp.convert(model, rescale="none")
        ready = time.perf_counter()
        kp.save_model(converted, path.with_name("out.keras"))
        end = time.perf_counter()
    emit(
        DepthTime(
            backend=backend(),
            layers=layers,
            load=loaded - start,
            convert=ready - loaded,
            save=end - ready,
            total=end - start,
        )
    )


@main.command()
@click.argument("rounds", type=int)
def resnet(rounds: int) -> None:
    """Measure load + convert + save of ResNet50 against load + save, taken in turn."""
    import keras

    import keras_prelu as kp
    from keras_prelu.utils.timing import compare

    with _model_file(lambda: keras.applications.ResNet50(weights=None)) as path:
        out = path.with_name("out.keras")

        def load_save() -> None:
            kp.save_model(kp.load_model(path), out, force=True)

        def load_convert_save() -> None:
            kp.save_model(kp.convert(kp.load_model(path), rescale="none"), out, force=True)

        times = compare(
            {"load + save": load_save, "with convert": load_convert_save},
            "load + save",
            rounds=rounds,
            warm_up=1,
        )
    ratio = times["with convert"]
    emit(ConversionTime(backend=backend(), low=ratio.low, median=ratio.median, high=ratio.high))


@main.command()
@click.argument("network")
def memory(network: str) -> None:
    """Measure the peak memory of loading, converting and saving NETWORK (Linux)."""
    import keras

    import keras_prelu as kp

    with _model_file(lambda: getattr(keras.applications, network)(weights=None)) as path:
        kp.convert(_chain(4), rescale="none")  # imports and allocates what is needed once
        before, peaks = _memory_status("VmRSS"), {}
        model = _peak(lambda: kp.load_model(path), "load", peaks)
        peaks["loaded"] = _memory_status("VmRSS")
        weights = sum(int(weight.size) * weight.dtype.itemsize for weight in model.get_weights())
        converted = _peak(lambda: kp.convert(model, rescale="none"), "convert", peaks)
        _peak(lambda: kp.save_model(converted, path.with_name("out.keras")), "save", peaks)
    multiples = {step: (peak - before) / weights for step, peak in peaks.items()}
    emit(
        ConversionMemory(
            backend=backend(), network=network, weights=weights / MEGABYTE, **multiples
        )
    )


def _chain(layers: int) -> Any:
    """Build a model of Dense and ReLU layers in turn."""
    import keras

    limit = sys.getrecursionlimit()
    # Keras recurses while it builds the model. What is measured starts from the model's file.
    sys.setrecursionlimit(100_000)
    try:
        inputs = outputs = keras.Input((4,))
        for number in range(layers):
            outputs = (keras.layers.ReLU() if number % 2 else keras.layers.Dense(4))(outputs)
        return keras.Model(inputs, outputs)
    finally:
        sys.setrecursionlimit(limit)


@contextmanager
def _model_file(build: Callable[[], Any]) -> Iterator[Path]:
    """Yield a file of a model that another process built, so that this process's memory and caches
    are fresh."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        child = os.fork()
        if child == 0:
            import keras_prelu as kp

            kp.save_model(build(), path)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise click.ClickException("The model could not be built.")
        yield path


def _peak(step: Callable[[], Any], name: str, peaks: dict[str, float]) -> Any:
    """Return the result of a step and note its peak of resident memory (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # restarts the count of the peak
    result = step()
    peaks[name] = _memory_status("VmHWM")
    return result


def _memory_status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024.0


if __name__ == "__main__":
    main()
