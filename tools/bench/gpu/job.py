"""The whole job of a user: train a network, convert and calibrate it, fine-tune it beside its
control, and resume a fine-tuning that was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from tools.bench.gpu.clock import Clock
from tools.bench.gpu.device import forget_peak, peak_bytes
from tools.bench.gpu.effort import TRIAL, Effort
from tools.bench.gpu.finetuning import Job, Samples, finetuned
from tools.bench.gpu.images import CLASSES, images
from tools.bench.gpu.records import Fact, Failure, Log
from tools.bench.gpu.resumption import environment
from tools.bench.gpu.utilization import Utilization
from tools.bench.gpu.variants import network
from tools.bench.records import RELU

PART, POLICY = "job", "mixed_bfloat16"


class _SlowError(Exception):
    """A calibration exceeds its time limit."""


def measure(effort: Effort, log: Log) -> None:
    """Measure all steps; a failure is recorded, and the steps that do not need it follow."""
    say = _Saying(log)
    start = time.perf_counter()
    (x, y), validation = (
        images(effort.train, effort.job_size, 0),
        images(effort.validation, effort.job_size, 1),
    )
    say("make the images", time.perf_counter() - start, "s")
    original = _trained((x, y), effort, say)
    converted = _converted(original, x[: effort.calibration], validation[0], effort, say)
    job = Job(converted=converted, original=original, train=(x, y), validation=validation)
    with tempfile.TemporaryDirectory(prefix="bench_gpu_") as folder:
        try:
            _finetune(job, effort, Path(folder), say)
        except Exception as problem:
            log.add(Failure.of(PART, "fine-tuning", problem))
        try:
            few = slice(effort.resumed)
            shorter = replace(
                job, train=(x[few], y[few]), validation=(validation[0][few], validation[1][few])
            )
            _resume(shorter, effort, Path(folder), say)
        except Exception as problem:
            log.add(Failure.of(PART, "being killed and going on", problem))


class _Saying:
    """Records facts of this part."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __call__(self, name: str, value: float | str, unit: str = "") -> None:
        self._log.add(Fact(part=PART, name=name, value=value, unit=unit))

    def fail(self, what: str, problem: BaseException) -> None:
        self._log.add(Failure.of(PART, what, problem))


def _trained(train: Samples, effort: Effort, say: _Saying) -> keras.Model:
    model = network(RELU, effort.network, effort.job_size, CLASSES, POLICY)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # With Keras's 0.99 so few steps would hardly move the statistics.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    clock, start = Clock(), time.perf_counter()
    history = model.fit(
        *train, batch_size=effort.job_batch, epochs=effort.epochs, callbacks=[clock], verbose=0
    ).history
    say(
        f"train {effort.network} for {effort.epochs} epochs of {effort.train} images",
        time.perf_counter() - start,
        "s",
    )
    say("a step of that, after the first epoch", float(np.median(clock.milliseconds[1:])), "ms")
    say("training accuracy of the ReLU model", 100 * history["accuracy"][-1], "%")
    return model


def _converted(
    original: keras.Model, samples: np.ndarray, check: np.ndarray, effort: Effort, say: _Saying
) -> keras.Model:
    """Return what `convert(original, alpha=0.25, calibration_data=samples)` returns, in its two
    steps, the second of which reports its errors."""
    start = time.perf_counter()
    converted = kp.convert(original, alpha=0.25, rescale="none")
    say("convert", time.perf_counter() - start, "s")
    forget_peak()
    start = time.perf_counter()

    def watch(done: int, total: int) -> None:
        if time.perf_counter() - start > effort.calibration_seconds:
            raise _SlowError(
                f"given up after {done} of {total} steps and {effort.calibration_seconds:.0f} s"
            )

    try:
        found = kp.calibrate(converted, original, samples, on_step=watch)
    except Exception as problem:
        say.fail(f"calibration on {len(samples)} images", problem)
        return converted
    say(f"calibrate on {len(samples)} images", time.perf_counter() - start, "s")
    say("error of the outputs before calibration", found.error_before, "of their variance")
    say("error of the outputs after calibration", found.error_after, "of their variance")
    _say_peak("calibration", say)
    agreement = np.mean(_classes(converted, check) == _classes(original, check))
    say(
        "validation images of the same class before and after conversion",
        100 * float(agreement),
        "%",
    )
    return converted


def _classes(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return model.predict(x, batch_size=128, verbose=0).argmax(-1)


def _finetune(job: Job, effort: Effort, folder: Path, say: _Saying) -> None:
    clocks: list[Clock] = []

    def callbacks() -> list[Clock]:
        clocks.append(Clock())
        return clocks[-1:]

    forget_peak()
    start = time.perf_counter()
    with Utilization() as utilization:
        found = finetuned(job, effort, checkpoints=folder / "job", callbacks=callbacks)
    say(
        f"fine-tune for {effort.epochs} epochs, control and checkpoints included",
        time.perf_counter() - start,
        "s",
    )
    for name, clock in zip(("PReLU", "ReLU control"), clocks, strict=True):
        step = float(np.median(clock.milliseconds[1:]))
        say(f"a step of fine-tuning, {name}", step, "ms")
        say(f"throughput of fine-tuning, {name}", effort.job_batch / step * 1e3, "images/s")
    _say_peak("fine-tuning", say)
    if utilization.percents:
        say("GPU utilization during fine-tuning, mean", float(np.mean(utilization.percents)), "%")
        say("GPU utilization during fine-tuning, most", float(np.max(utilization.percents)), "%")
    say(
        "validation accuracy of PReLU, before and after",
        f"{100 * found.prelu.score_before:.1f}, {100 * found.prelu.score_after:.1f}",
        "%",
    )
    if found.control is not None:
        scores = f"{100 * found.control.score_before:.1f}, {100 * found.control.score_after:.1f}"
        say("validation accuracy of the control, before and after", scores, "%")
    say("verdict", found.verdict)


def _resume(job: Job, effort: Effort, folder: Path, say: _Saying) -> None:
    start = time.perf_counter()
    job.converted.save(folder / "converted.keras")
    job.original.save(folder / "original.keras")
    np.savez(
        folder / "samples.npz",
        x=job.train[0],
        y=job.train[1],
        x_validation=job.validation[0],
        y_validation=job.validation[1],
    )
    command = [sys.executable, "-m", "tools.bench.gpu.resumption"]
    options = [str(folder), *(["--trial"] if effort is TRIAL else [])]
    killed = subprocess.run(
        [*command, "kill", *options], capture_output=True, text=True, check=False, env=environment()
    )
    if killed.returncode != -9:
        raise RuntimeError(
            f"the first process ended with {killed.returncode}: {killed.stderr[-250:]}"
        )
    say(
        "checkpoints that the killed fine-tuning left",
        ", ".join(path.name for path in (folder / "killed").glob("*.npz")),
    )
    resumed = subprocess.run(
        [*command, "resume", *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    if resumed.returncode:
        raise RuntimeError(
            f"the second process ended with {resumed.returncode}: {resumed.stderr[-250:]}"
        )
    found = json.loads(resumed.stdout.splitlines()[-1])
    say(
        "the resumed fine-tuning equals an uninterrupted one bit for bit",
        "yes" if found["equal_bit_for_bit"] else "no",
    )
    say(
        "largest difference of a weight, over its array's largest",
        found["largest_relative_difference"],
    )
    say(
        "last training loss, resumed and uninterrupted",
        ", ".join(f"{loss:.6f}" for loss in found["losses"]),
    )
    say("epochs recorded, resumed and uninterrupted", ", ".join(map(str, found["epochs"])))
    say("validation images scored alike", 100 * found["scores_alike"], "%")
    say("be killed, go on, and once more without", time.perf_counter() - start, "s")


def _say_peak(what: str, say: _Saying) -> None:
    peak = peak_bytes()
    if peak is not None:
        say(f"peak device memory until the end of {what}", peak / 1e9, "GB")
