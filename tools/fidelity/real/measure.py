"""One real network converted in one way: what became of its outputs, and what it took."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from tools.common.packages import Packages
from tools.common.peak import peak_memory
from tools.fidelity.calibration import mean_slope
from tools.fidelity.real.networks import RealNetwork
from tools.fidelity.real.settings import EXPORTED, Setting

__all__ = ["Kept", "RealModel", "kept", "real_model"]

Result = TypeVar("Result")

_BATCH = 128


@dataclass(frozen=True)
class RealModel:
    """A network as it came.

    Attributes:
        network: Name.
        kind: What it consists of.
        weights: Number of its weights.
        sites: Number of rectifiers that are converted.
        original: What it was compared with; "" if it was trained here.
        difference: Largest difference from it; None if it was trained here.
        metric: Name of what it is judged by, or "".
        value: Its value on new samples; None without one.
        samples: Number of the new samples.
    """

    network: str
    kind: str
    weights: int
    sites: int
    original: str
    difference: float | None
    metric: str
    value: float | None
    samples: int


@dataclass(frozen=True)
class Kept:
    """What one way of converting keeps of a network, on new samples.

    Attributes:
        network: Name.
        setting: Name of the way.
        samples: Number of calibration samples; 0 without.
        seed: Seed of the samples and of the calibration.
        slope: Mean of the slopes.
        difference: Largest change of an output, relative to the largest output.
        error: Mean squared change of the outputs over their variance.
        agreement: Percentage of samples whose most probable class is the same; None without
            classes.
        change: Change of what the network is judged by; None without targets.
        seconds: CPU seconds of the conversion, of all cores together.
        passes: The same as a multiple of one pass of `predict` over the samples (over 512 without
            samples).
        peak: Most bytes of memory over what the process took after a prediction.
        exports: Largest difference of each exported form from the converted network, relative to
            the largest output, or why there is none; empty where nothing was exported.
        failure: Why there is no result, or "".
    """

    network: str
    setting: str
    samples: int
    seed: int
    slope: float | None = None
    difference: float | None = None
    error: float | None = None
    agreement: float | None = None
    change: float | None = None
    seconds: float | None = None
    passes: float | None = None
    peak: float | None = None
    exports: Mapping[str, float | str] = field(default_factory=dict)
    failure: str = ""


def real_model(network: RealNetwork, packages: Packages, test: int) -> RealModel:
    """Compare a network with its original, and judge it on so many new samples.

    Raises:
        ValueError: It is not what it was made from.
    """
    original = network.original
    difference = None if original is None else original.difference(packages)
    if original is not None and not difference <= original.tolerance:
        raise ValueError(f"{network.name} differs by {difference} from {original.name}")
    model = network.build(packages)
    samples = _first(network.data(packages).test, test)
    outputs = _predict(model, samples.x)
    metric = network.metric
    return RealModel(
        network=network.name,
        kind=network.kind,
        weights=model.count_params(),
        sites=len(kp.run_conversion(model, alpha=0.0, parameterization="identity").sites),
        original="" if original is None else original.name,
        difference=difference,
        metric="" if metric is None else metric.name,
        value=None if metric is None else metric.value(outputs, samples.y),
        samples=len(samples),
    )


def kept(
    network: RealNetwork,
    setting: Setting,
    packages: Packages,
    *,
    counts: Sequence[int],
    seeds: int,
    test: int,
) -> Iterator[Kept]:
    """Convert a network with each number of samples and each seed; the first is exported, too."""
    model, split = network.build(packages), network.data(packages)
    samples = _first(split.test, test)
    before = _predict(model, samples.x)
    judge = _Judge(network, samples, before)
    exports = setting.name == EXPORTED
    for count in counts:
        for seed in range(seeds):
            chosen = np.random.default_rng(seed).permutation(len(split.train))[:count]
            result, converted = _converted(judge, setting, model, split.train.x[chosen], seed)
            if exports and converted is not None:
                result = replace(result, exports=_exports(converted, samples.x))
                exports = False
            yield result


@dataclass(frozen=True)
class _Judge:
    """Compares outputs on new samples with those of the network as it came."""

    network: RealNetwork
    samples: Samples
    before: np.ndarray

    def compared(self, after: np.ndarray) -> dict[str, float | None]:
        top, metric = self.network.top, self.network.metric
        largest = np.abs(self.before).max()
        return {
            "difference": float(np.abs(after - self.before).max() / largest),
            "error": kp.diagnostics.relative_error(after, self.before),
            "agreement": None
            if top is None
            else 100.0 * float(np.mean(top(after) == top(self.before))),
            "change": None
            if metric is None
            else metric.value(after, self.samples.y) - metric.value(self.before, self.samples.y),
        }


def _converted(
    judge: _Judge, setting: Setting, model: keras.Model, x: np.ndarray, seed: int
) -> tuple[Kept, keras.Model | None]:
    """Return the result, and the converted network if there is one."""
    _predict(model, x)  # compiles
    _, pass_seconds = _cpu_seconds(lambda: _predict(model, x))
    arguments = {**setting.arguments, "seed": seed}
    if setting.calibrates:
        arguments["calibration_data"] = x
    result = Kept(
        network=judge.network.name,
        setting=setting.name,
        samples=len(x) if setting.calibrates else 0,
        seed=seed,
    )
    try:
        (conversion, seconds), peak = peak_memory(
            lambda: _cpu_seconds(lambda: kp.run_conversion(model, **arguments))
        )
    except (kp.errors.KerasPReLUError, MemoryError) as error:
        return replace(result, failure=" ".join(str(error).split())[:300] or "out of memory"), None
    converted = conversion.model if setting.calibrates else _reloaded(conversion.model)
    return replace(
        result,
        slope=mean_slope(converted),
        seconds=seconds,
        passes=seconds / pass_seconds,
        peak=peak,
        **judge.compared(_predict(converted, judge.samples.x)),
    ), converted


def _reloaded(model: keras.Model) -> keras.Model:
    """Return what a file of a model holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        kp.save_model(model, path)
        return kp.load_model(path)


def _exports(model: keras.Model, x: np.ndarray) -> dict[str, float | str]:
    """Bake a network, and export it to TensorFlow Lite and ONNX; all are run on samples."""
    x = x[:_BATCH]
    expected = _predict(model, x)
    largest = np.abs(expected).max()
    differences: dict[str, float | str] = {
        "baked": float(np.abs(_predict(kp.bake(model), x) - expected).max() / largest)
    }
    for form in ("tflite", "onnx"):
        with tempfile.TemporaryDirectory() as folder:
            try:
                export = kp.export(model, Path(folder) / f"model.{form}", samples=x)
            except kp.errors.ExportError as error:
                differences[form] = " ".join(str(error).split())[:200]
            else:
                differences[form] = export.difference
    return differences


def _first(samples: Samples, count: int) -> Samples:
    """Return so many samples, evenly spread: neighbours are often alike."""
    return samples.take(np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int))


def _predict(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return model.predict(x, batch_size=_BATCH, verbose=0)


def _cpu_seconds(call: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start
