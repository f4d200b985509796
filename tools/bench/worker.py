"""Measures one backend, in a process of its own: `python -m tools.bench.worker jax`. A JSON line
for each result."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from tools.bench.records import RELU, Failure, Machine, Measurement

ACTIVATION_SHAPE = (32, 56, 56, 64)
GPU_SHAPE = (64, 56, 56, 256)
CHANNELS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (7, 14, 28, 56, 112)
# A copy kernel reads x and writes y. Forward and backward of an activation: read x, write y; read
# g, read y, write dx.
PASSES, COPY_PASSES = 5, 2


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, seconds for the rounds of a network, and the factor that
    divides batches in a trial run."""

    rounds: int
    step_rounds: int
    step_seconds: float
    reduction: int

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (max(1, shape[0] // self.reduction), *shape[1:])


FULL = Effort(rounds=25, step_rounds=21, step_seconds=30.0, reduction=1)
TRIAL = Effort(rounds=2, step_rounds=2, step_seconds=0.0, reduction=32)


def machine() -> Machine:
    from keras_prelu.backend.devices import gpu

    versions = {"python": platform.python_version()} | {
        package: metadata.version(package) for package in ("keras", _backend())
    }
    return Machine(
        device=gpu() or _processor(), cores=len(os.sched_getaffinity(0)), versions=versions
    )


def _processor() -> str:
    try:
        models = [
            line
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        return models[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def activation_times(effort: Effort) -> Iterator[Measurement]:
    """Forward and backward of the activation alone, in every mode, beside the time of the same
    traffic in a copy kernel."""
    from keras_prelu.backend.devices import gpu
    from tools.bench.modes import modes

    cases = [(ACTIVATION_SHAPE, "float32")]
    if gpu():
        cases += [(GPU_SHAPE, "float32"), (GPU_SHAPE, "mixed_bfloat16")]
    for mode in modes():
        for shape, dtype in cases:
            yield from _activation(
                mode, effort.shape(shape), dtype, "activation, forward + backward, ms", effort
            )


def growth(effort: Effort) -> Iterator[Measurement]:
    """How the activation's time grows with channels, at 2^22 elements, and with pixels, at 64
    channels and batch 32."""
    from tools.bench.modes import modes

    shapes = [(2**18 // channels, 4, 4, channels) for channels in CHANNELS] + [
        (32, side, side, 64) for side in SIDES
    ]
    for mode in modes():
        if (_backend() == "tensorflow" and mode.name == "eager") or mode.name == "compile":
            continue
        for shape in shapes:
            yield from _activation(
                mode, effort.shape(shape), "float32", "growth, forward + backward, ms", effort
            )


def _activation(
    mode, shape: tuple[int, ...], dtype: str, quantity: str, effort: Effort
) -> Iterator[Measurement]:
    import numpy as np

    from keras_prelu.utils.timing import compare
    from tools.bench.activations import ACTIVATIONS

    rng = np.random.default_rng(0)
    x, upstream = rng.normal(size=(2, *shape)).astype("float32")
    steps = {}
    for name, activation in ACTIVATIONS.items():
        layer = activation(len(shape))
        layer = type(layer).from_config({**layer.get_config(), "dtype": dtype})
        layer.build((None, *shape[1:]))
        steps[name] = mode.activation(layer, x, upstream)
    steps["copy"] = mode.forward(lambda tensor: -tensor, x)
    times = compare(steps, RELU, rounds=effort.rounds)
    # The copy is in float32; half precision moves half the bytes.
    floor = times.pop("copy").milliseconds * PASSES / COPY_PASSES * (0.5 if "16" in dtype else 1.0)
    yield from _measurements(mode.name, quantity, str(shape), dtype, times, floor)


def network_times(effort: Effort) -> Iterator[Measurement | Failure]:
    """Whole train steps and predictions, through `train_on_batch` and `predict_on_batch`."""
    from tools.bench.modes import modes
    from tools.bench.networks import NETWORKS, NORMALIZED, PLAIN, SEQUENCE

    for mode in modes():
        for network in NETWORKS:
            if mode.compile_options.get("run_eagerly") and network is not PLAIN:
                continue  # TensorFlow without graphs is for debugging
            if mode.name == "compile" and network not in (PLAIN, SEQUENCE):
                continue  # minutes of compilation for each
            for dtype in (
                ("float32", "mixed_bfloat16") if network in (PLAIN, NORMALIZED) else ("float32",)
            ):
                try:
                    yield from _network(mode, network, dtype, effort)
                except (
                    Exception
                ) as problem:  # a backend that can't compile a network; the rest is still measured
                    reason = f"{type(problem).__name__}: {problem}".splitlines()[0]
                    yield Failure(
                        _backend(), mode.name, "train step, ms", network.name, dtype, reason[:200]
                    )


def _network(mode, network, dtype: str, effort: Effort) -> Iterator[Measurement]:
    from keras_prelu.utils.timing import compare
    from tools.bench.activations import ACTIVATIONS

    network = dataclasses.replace(network, batch=max(1, network.batch // effort.reduction))
    x, y = network.samples()
    models = {
        name: network.build(activation, dtype, **mode.compile_options)
        for name, activation in ACTIVATIONS.items()
    }
    for quantity, calls in {
        "train step, ms": {
            name: lambda model=model: model.train_on_batch(x, y) for name, model in models.items()
        },
        "inference, ms": {
            name: lambda model=model: model.predict_on_batch(x) for name, model in models.items()
        },
    }.items():
        times = compare(
            calls, RELU, rounds=effort.step_rounds, seconds=effort.step_seconds, warm_up=2
        )
        yield from _measurements(mode.name, quantity, network.name, dtype, times)


def counted_memory(effort: Effort) -> Iterator[Measurement]:
    """On JAX: residual and temporary bytes of each network, in MiB (2^20 bytes)."""
    if _backend() != "jax":
        return
    from tools.bench.activations import ACTIVATIONS
    from tools.bench.memory import jax_bytes
    from tools.bench.networks import NETWORKS

    for network in NETWORKS:
        network = dataclasses.replace(network, batch=max(1, network.batch // effort.reduction))
        counted = {
            name: jax_bytes(network.build(activation), *network.samples())
            for name, activation in ACTIVATIONS.items()
        }
        for index, quantity in enumerate(("residuals, MiB", "compiled temporaries, MiB")):
            for name, found in counted.items():
                ratio = found[index] / counted[RELU][index]
                yield Measurement(
                    "jax",
                    "jit",
                    quantity,
                    network.name,
                    "float32",
                    name,
                    found[index] / 2**20,
                    ratio,
                    ratio,
                    ratio,
                )


def _measurements(
    mode: str, quantity: str, work: str, dtype: str, times: Mapping, floor: float | None = None
) -> Iterator[Measurement]:
    for name, ratio in times.items():
        yield Measurement(
            _backend(),
            mode,
            quantity,
            work,
            dtype,
            name,
            ratio.milliseconds,
            ratio.median,
            ratio.low,
            ratio.high,
            floor,
        )


def _backend() -> str:
    import keras

    return str(keras.backend.backend())


def peak(activation: str, effort: Effort) -> float:
    """Peak megabytes of this process after five train steps of the plain network in a TensorFlow
    graph."""
    from tools.bench.activations import ACTIVATIONS
    from tools.bench.memory import peak_of_this_process
    from tools.bench.networks import PLAIN

    network = dataclasses.replace(PLAIN, batch=max(1, PLAIN.batch // effort.reduction))
    model, (x, y) = network.build(ACTIVATIONS[activation], jit_compile=False), network.samples()
    for _ in range(5):
        model.train_on_batch(x, y)
    return peak_of_this_process()


BACKENDS = ("tensorflow", "jax", "torch")
PARTS: dict[str, Callable[[Effort], Iterator]] = {
    "activation": activation_times,
    "memory": counted_memory,
    "network": network_times,
    "growth": growth,
}


@click.command()
@click.argument("backend", type=click.Choice(BACKENDS))
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), default=list(PARTS))
@click.option("--peak", "peak_of", help="Measure this activation's peak memory, and nothing else.")
@click.option("--trial", is_flag=True, help="Small and few, to see that everything runs.")
def main(backend: str, parts: tuple[str, ...], peak_of: str | None, trial: bool) -> None:
    """Measure BACKEND and print a JSON line for each result."""
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    effort = TRIAL if trial else FULL
    if peak_of:
        print(json.dumps(peak(peak_of, effort)), flush=True)
        return
    _emit(machine())
    for part in parts:
        for result in PARTS[part](effort):
            _emit(result)


def _emit(record: object) -> None:
    print(json.dumps({"type": type(record).__name__, **dataclasses.asdict(record)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
