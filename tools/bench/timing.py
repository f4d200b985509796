"""Times of the activations: alone, by the size of their input, and in networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from keras_prelu.backend.devices import gpu
from keras_prelu.utils.timing import Ratio, compare
from tools.bench.activations import ACTIVATIONS
from tools.bench.effort import FULL, TRIAL, Effort
from tools.bench.modes import Mode, modes
from tools.bench.networks import NETWORKS, NORMALIZED, PLAIN, SEQUENCE, Network
from tools.bench.records import RELU, Failure, Measurement
from tools.common.machine import backend

ACTIVATION_SHAPE = (32, 56, 56, 64)
GPU_SHAPE = (64, 56, 56, 256)
CHANNELS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SIDES = (7, 14, 28, 56, 112)
# A copy kernel reads x and writes y. Forward and backward of an activation: read x, write y; read
# g, read y, write dx.
PASSES, COPY_PASSES = 5, 2


def activation_alone(trial: bool) -> Iterator[Measurement]:
    """Measure forward and backward of the activation alone, in every mode, beside the time of the
    same traffic in a copy kernel."""
    cases = [(ACTIVATION_SHAPE, "float32")]
    if gpu():
        cases += [(GPU_SHAPE, "float32"), (GPU_SHAPE, "mixed_bfloat16")]
    quantity = "activation, forward + backward, ms"
    for mode in modes():
        for shape, dtype in cases:
            yield from _activation(mode, shape, dtype, quantity, TRIAL if trial else FULL)


def growth(trial: bool) -> Iterator[Measurement]:
    """Measure how the activation's time grows with channels, at 2^22 elements, and with pixels, at
    64 channels and batch 32."""
    shapes = [
        *((2**18 // channels, 4, 4, channels) for channels in CHANNELS),
        *((32, side, side, 64) for side in SIDES),
    ]
    quantity = "growth, forward + backward, ms"
    for mode in modes():
        if (backend() == "tensorflow" and mode.name == "eager") or mode.name == "compile":
            continue
        for shape in shapes:
            yield from _activation(mode, shape, "float32", quantity, TRIAL if trial else FULL)


def networks(trial: bool) -> Iterator[Measurement | Failure]:
    """Measure whole train steps and predictions, with `train_on_batch` and `predict_on_batch`."""
    effort = TRIAL if trial else FULL
    for mode in modes():
        for network in NETWORKS:
            if mode.compile_options.get("run_eagerly") and network is not PLAIN:
                continue  # TensorFlow without graphs is for debugging.
            if mode.name == "compile" and network not in (PLAIN, SEQUENCE):
                continue  # Compiling each network takes minutes.
            normal = network in (PLAIN, NORMALIZED)
            for dtype in ("float32", "mixed_bfloat16") if normal else ("float32",):
                yield from _network_or_failure(mode, network, dtype, effort)


def _activation(
    mode: Mode, full_shape: tuple[int, ...], dtype: str, quantity: str, effort: Effort
) -> Iterator[Measurement]:
    shape = effort.shape(full_shape)
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


def _network_or_failure(
    mode: Mode, network: Network, dtype: str, effort: Effort
) -> Iterator[Measurement | Failure]:
    try:
        yield from _network(mode, effort.network(network), dtype, effort)
    except Exception as error:  # A backend may fail to compile a network; the rest still runs.
        yield Failure(
            backend=backend(),
            mode=mode.name,
            quantity="train step, ms",
            work=network.name,
            dtype=dtype,
            reason=f"{type(error).__name__}: {error}".splitlines()[0][:200],
        )


def _network(mode: Mode, network: Network, dtype: str, effort: Effort) -> Iterator[Measurement]:
    x, y = network.samples()
    models = {
        name: network.build(activation, dtype, **mode.compile_options)
        for name, activation in ACTIVATIONS.items()
    }
    quantities = {
        "train step, ms": {
            name: lambda model=model: model.train_on_batch(x, y) for name, model in models.items()
        },
        "inference, ms": {
            name: lambda model=model: model.predict_on_batch(x) for name, model in models.items()
        },
    }
    for quantity, calls in quantities.items():
        times = compare(
            calls, RELU, rounds=effort.step_rounds, seconds=effort.step_seconds, warm_up=2
        )
        yield from _measurements(mode.name, quantity, network.name, dtype, times)


def _measurements(
    mode: str,
    quantity: str,
    work: str,
    dtype: str,
    times: Mapping[str, Ratio],
    floor: float | None = None,
) -> Iterator[Measurement]:
    for name, ratio in times.items():
        yield Measurement(
            backend=backend(),
            mode=mode,
            quantity=quantity,
            work=work,
            dtype=dtype,
            activation=name,
            value=ratio.milliseconds,
            ratio=ratio.median,
            low=ratio.low,
            high=ratio.high,
            floor=floor,
        )
