"""The activation alone, forward, and forward and backward, beside the least time for moving its
bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_prelu.backend.devices import gpu
from keras_prelu.utils.timing import compare
from tools.bench.gpu.effort import Effort
from tools.bench.gpu.kernels import BOTH, COPY, FORWARD, Eager, Graph, Inputs, Kernel, Run, kernels
from tools.bench.gpu.records import Fact, Failure, Log, Timing
from tools.bench.gpu.variants import EXP, LAYERS
from tools.bench.records import RELU
from tools.common.machine import backend

PART = "activation"
DTYPES = ("mixed_bfloat16", "float32")
# Forward reads x and writes y; backward reads y and the upstream gradient and writes the input's.
# A copy reads and writes.
PASSES = {FORWARD: 2, BOTH: 5}
COPY_PASSES = 2
_MOST_CALLS, _MOST_BUFFERS = 64, 16


def measure(mode: str, effort: Effort, log: Log) -> None:
    """Measure every shape and dtype in one mode of `kernels.kernels`."""
    kernel, launches = kernels()[mode], {}
    for shape in effort.compiled_shapes if mode == "compile" else effort.shapes:
        for dtype in DTYPES:
            _case(kernel, shape, dtype, launches, effort, log)


def _case(
    kernel: Kernel,
    shape: tuple[int, ...],
    dtype: str,
    launches: dict[tuple, float],
    effort: Effort,
    log: Log,
) -> None:
    compute = keras.dtype_policies.get(dtype).compute_dtype
    inputs = _inputs(shape, compute, effort)
    # The layer that may not be capturable comes last: after a capture that fails, PyTorch may be
    # unable to capture others.
    layers = {
        name: _built(LAYERS[name](dtype), shape)
        for name in sorted(LAYERS, key=lambda name: name == EXP)
    }
    copy = layers[RELU]
    calls = _calls(kernel.repeated(COPY, copy, inputs, 1), effort)
    for work in (BOTH, FORWARD):
        what = f"{work}, {shape}"
        steps = {}
        for name, layer in layers.items():
            try:
                steps[name] = _tried(kernel.repeated(work, layer, inputs, calls))
                if kernel.name != "compile" and (work, dtype, name) not in launches:
                    launches[work, dtype, name] = _launch(kernel, work, layer, effort)
            except Exception as problem:
                # A layer may fail to be compiled or captured; the others are still measured.
                steps.pop(name, None)
                log.add(Failure.of(PART, f"{kernel.name}, {what}, {dtype}, {name}", problem))
        if RELU not in steps:
            continue
        times = compare(
            {**steps, COPY: kernel.repeated(COPY, copy, inputs, calls)}, RELU, rounds=effort.rounds
        )
        moved = times.pop(COPY).milliseconds / calls
        floor = moved * PASSES[work] / COPY_PASSES
        if work == BOTH and gpu():
            bandwidth = (
                COPY_PASSES
                * math.prod(shape)
                * np.dtype(_numpy_dtype(compute)).itemsize
                / moved
                / 1e9
            )
            log.add(
                Fact(
                    part=PART,
                    name=f"copy, {kernel.name}, {shape}, {dtype}",
                    value=bandwidth,
                    unit="TB/s",
                )
            )
        for name, found in times.items():
            log.add(
                Timing(
                    part=PART,
                    mode=kernel.name,
                    work=what,
                    dtype=dtype,
                    activation=name,
                    milliseconds=found.milliseconds / calls,
                    ratio=found.median,
                    low=found.low,
                    high=found.high,
                    rounds=effort.rounds,
                    floor=floor,
                    launch=launches.get((work, dtype, name)),
                    **(
                        _memory(kernel, layers[name], inputs[0])
                        if work == BOTH and not isinstance(kernel, Graph)
                        else {}
                    ),
                )
            )
    if type(kernel) is Eager and gpu() and shape == effort.shapes[-1]:
        _waits(kernel, layers, inputs[0], dtype, log)


def _launch(kernel: Kernel, work: str, layer: keras.layers.Layer, effort: Effort) -> float:
    """Return the milliseconds of a run on one pixel, launched many times in a row."""
    pixel = ops.ones(
        (1, 1, 1, layer.weights[0].shape[-1] if layer.weights else 16), layer.compute_dtype
    )
    run = kernel.repeated(work, layer, [Inputs(x=pixel, upstream=pixel)], _MOST_CALLS)
    return compare({RELU: run}, RELU, rounds=effort.rounds)[RELU].milliseconds / _MOST_CALLS


def _memory(kernel: Kernel, layer: keras.layers.Layer, inputs: Inputs) -> dict[str, int | None]:
    try:
        peak = kernel.peak_bytes(BOTH, layer, inputs)
        return {
            "peak_bytes": peak,
            "residual_bytes": None
            if kernel.name == "compile"
            else kernel.residual_bytes(layer, inputs),
        }
    except Exception:  # The time is kept without the memory.
        return {}


def _waits(
    kernel: Eager, layers: dict[str, keras.layers.Layer], inputs: Inputs, dtype: str, log: Log
) -> None:
    for name, layer in layers.items():
        try:
            log.add(
                Fact(
                    part=PART,
                    name=f"the host waits for the device in {BOTH}, {dtype}, {name}",
                    value=kernel.waits(layer, inputs),
                )
            )
        except Exception as problem:
            log.add(Failure.of(PART, f"waits, {dtype}, {name}", problem))


def _built(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    layer.build((None, *shape[1:]))
    return layer


def _inputs(shape: tuple[int, ...], dtype: str, effort: Effort) -> Sequence[Inputs]:
    """Return random buffers, so many that none is still in the cache when its turn comes again."""
    size = math.prod(shape) * np.dtype(_numpy_dtype(dtype)).itemsize
    count = min(_MOST_BUFFERS, max(1, math.ceil(effort.working_set / size)))
    draw = keras.random.normal
    return [
        Inputs(
            x=draw(shape, dtype=dtype, seed=2 * n),
            upstream=draw(shape, dtype=dtype, seed=2 * n + 1),
        )
        for n in range(count)
    ]


def _numpy_dtype(dtype: str) -> str:
    return "float16" if dtype == "bfloat16" else dtype  # of the same size


def _calls(run: Run, effort: Effort) -> int:
    """Return how many copies make a sample long enough to be timed."""
    for _ in range(3):
        run()
    start = time.perf_counter()
    run()
    return min(
        _MOST_CALLS, max(1, math.ceil(effort.sample_seconds / (time.perf_counter() - start)))
    )


def _tried(run: Run) -> Callable[[], object]:
    run()
    return run


def modes() -> tuple[str, ...]:
    """Return the modes of the active backend that can be measured here."""
    if backend() == "jax":
        return ("jit",)
    return ("eager", "graph", "compile") if gpu() else ("eager",)
