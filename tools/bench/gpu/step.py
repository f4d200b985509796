"""A whole training step of a network, and a prediction, with each activation."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_prelu.utils.timing import compare
from tools.bench.gpu.device import forget_peak, peak_bytes, used_bytes
from tools.bench.gpu.effort import Effort
from tools.bench.gpu.kernels import program_bytes
from tools.bench.gpu.records import Failure, Log, Timing
from tools.bench.gpu.variants import LAYERS, network
from tools.bench.records import RELU
from tools.common.machine import backend

TRAINING, INFERENCE = "step", "inference"
_WORK = {TRAINING: "training step", INFERENCE: "prediction"}


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A network that is ready: `run` does one step and returns when it is done."""

    run: Callable[[], object]
    peak_bytes: int | None


def measure(part: str, policy: str, effort: Effort, log: Log) -> None:
    """Time all activations' networks of a dtype policy, each in turn with ReLU's."""
    work = f"{_WORK[part]} of {effort.network}, {effort.batch} × {effort.size}²"
    relu = None
    for name, make in _prepared(part, policy, effort):
        try:
            ready = make()
            relu = relu or ready
            times = compare(
                {RELU: relu.run, name: ready.run},
                RELU,
                rounds=effort.step_rounds,
                seconds=effort.step_seconds,
            )
        except Exception as problem:
            # No memory, or a program that cannot be compiled; the others are still measured.
            log.add(Failure.of(part, f"{work}, {policy}, {name}", problem))
            if relu is None:
                return
            continue
        found = times[name]
        log.add(
            Timing(
                part=part,
                mode="jit" if backend() == "jax" else "eager",
                work=work,
                dtype=policy,
                activation=name,
                milliseconds=found.milliseconds,
                ratio=found.median,
                low=found.low,
                high=found.high,
                rounds=effort.step_rounds,
                peak_bytes=ready.peak_bytes,
            )
        )


def _prepared(part: str, policy: str, effort: Effort) -> Iterator[tuple[str, Callable[[], Ready]]]:
    """Yield for each activation, ReLU first, a function that returns the ready network."""
    if backend() != "jax":
        yield from ((name, lambda name=name: _eager(part, name, policy, effort)) for name in LAYERS)
        return
    # Python traces one network after the other while XLA compiles the previous ones on other cores.
    # Nothing is timed until all are compiled.
    with ThreadPoolExecutor(len(LAYERS)) as pool:
        waiting = {}
        for name in LAYERS:
            try:
                program = _lowered(part, name, policy, effort)
                waiting[name] = (program, pool.submit(program.lowered.compile))
            except Exception as problem:
                waiting[name] = problem
    for name, found in waiting.items():
        yield name, lambda found=found: _loaded(found)


@dataclass(frozen=True, kw_only=True)
class _Program:
    """A step as a program of JAX, and its first state, which each step replaces if `hands_on`."""

    lowered: Any
    state: Any
    data: Any
    hands_on: bool


def _lowered(part: str, name: str, policy: str, effort: Effort) -> _Program:
    """Return the program that Keras compiles for `fit` or `predict`."""
    import jax

    model, (x, y) = _model(name, policy, effort), _batch(effort)
    state = (_values(model.trainable_variables), _values(model.non_trainable_variables))
    if part == INFERENCE:
        lowered = jax.jit(lambda state, data: model.predict_step(state, data)[0]).lower(state, (x,))
        return _Program(lowered=lowered, state=state, data=(x,), hands_on=False)
    model.optimizer.build(model.trainable_variables)
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    state = (*state, _values(model.optimizer.variables), _values(metrics))
    lowered = jax.jit(model.train_step, donate_argnums=0).lower(state, (x, y))
    return _Program(lowered=lowered, state=state, data=(x, y), hands_on=True)


def _values(variables: list[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _loaded(found: Any) -> Ready:
    import jax

    if isinstance(found, Exception):
        raise found
    program, future = found
    compiled, state = future.result(), program.state

    def run() -> None:
        nonlocal state
        result = jax.block_until_ready(compiled(state, program.data))
        state = result[1] if program.hands_on else state

    return Ready(run=run, peak_bytes=program_bytes(compiled))


def _eager(part: str, name: str, policy: str, effort: Effort) -> Ready:
    """Return a step of `train_on_batch` or `predict_on_batch`; its memory is what exceeds the
    memory in use beforehand."""
    gc.collect()
    before = used_bytes()
    model, (x, y) = _model(name, policy, effort), _batch(effort)
    run = (
        (lambda: model.train_on_batch(x, y))
        if part == TRAINING
        else (lambda: model.predict_on_batch(x))
    )
    run()
    forget_peak()
    run()
    peak = peak_bytes()
    return Ready(run=run, peak_bytes=None if peak is None else peak - before)


def _model(name: str, policy: str, effort: Effort) -> keras.Model:
    model = network(name, effort.network, effort.size, effort.classes, policy)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss, jit_compile=backend() == "jax")
    return model


def _batch(effort: Effort) -> tuple[Any, Any]:
    """Return random images and labels on the device."""
    x = keras.random.normal((effort.batch, effort.size, effort.size, 3), seed=0)
    return x, ops.cast(keras.random.randint((effort.batch,), 0, effort.classes, seed=1), "int32")
