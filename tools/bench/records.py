"""Results of the benchmark. Workers print them as JSON lines; the report reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RELU, STOCK, OURS = "ReLU", "keras.layers.PReLU", "keras_prelu.PReLU"


@dataclass(frozen=True)
class Measurement:
    """One quantity of one activation at one piece of work.

    Attributes:
        backend: "tensorflow", "jax" or "torch".
        mode: How the backend ran it: "graph", "XLA", "eager", "jit", "compile".
        quantity: What was measured, with its unit.
        work: The tensor or network that it was measured on.
        dtype: Keras dtype policy.
        activation: One of RELU, STOCK, OURS.
        value: Median, in the quantity's unit.
        ratio: Median over rounds of this activation's figure to ReLU's in the same round.
        low: Lower quartile of that ratio.
        high: Upper quartile.
        floor: For times of an activation: the time of moving the same bytes with a copy kernel, in
            the same unit; else None.
    """

    backend: str
    mode: str
    quantity: str
    work: str
    dtype: str
    activation: str
    value: float
    ratio: float
    low: float
    high: float
    floor: float | None = None


@dataclass(frozen=True)
class Failure:
    """A piece of work that a backend could not run.

    Attributes:
        backend: As in `Measurement`, like what follows.
        mode: How the backend was to run it.
        quantity: What was to be measured.
        work: The tensor or network.
        dtype: Keras dtype policy.
        reason: First line of the error.
    """

    backend: str
    mode: str
    quantity: str
    work: str
    dtype: str
    reason: str


@dataclass(frozen=True)
class DepthTime:
    """Time for a file of many layers in a row, the medians of several processes.

    Attributes:
        backend: Keras backend.
        layers: Dense and ReLU layers in turn.
        load: Seconds to load the file.
        convert: Seconds to convert the model.
        save: Seconds to save it.
        total: Seconds of all three: the median of the sums.
    """

    backend: str
    layers: int
    load: float
    convert: float
    save: float
    total: float


@dataclass(frozen=True)
class ConversionTime:
    """Time of loading, converting and saving ResNet50 over that of loading and saving it.

    Attributes:
        backend: Keras backend.
        low: Lower quartile of the ratio over rounds.
        median: Median.
        high: Upper quartile.
    """

    backend: str
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class ConversionMemory:
    """Memory of a process above what it took before, as multiples of the network's weights.

    Attributes:
        backend: Keras backend.
        network: Constructor in `keras.applications`.
        weights: Megabytes of the weights.
        load: Peak while loading.
        loaded: Memory after loading.
        convert: Peak while converting.
        save: Peak while saving.
    """

    backend: str
    network: str
    weights: float
    load: float
    loaded: float
    convert: float
    save: float


@dataclass(frozen=True)
class DiagnosticsTime:
    """Time of the diagnostics and of the callback on one backend.

    Attributes:
        backend: Keras backend.
        ratios: For each measure its milliseconds, and lower quartile, median and upper quartile of
            its time over that of `predict`.
        callback: "step": seconds of a training step; "slopes" and "samples": what `SlopeMonitor`
            takes an epoch without and with samples, in training steps; "first": seconds of its
            first epoch with samples.
    """

    backend: str
    ratios: Mapping[str, tuple[float, float, float, float]]
    callback: Mapping[str, float]


@dataclass(frozen=True)
class MonitorTime:
    """Processor time of `PlasticityMonitor` in the training of one network.

    Attributes:
        backend: Keras backend.
        network: The network.
        epoch: Seconds of an epoch that is not recorded, the median.
        recording: Seconds of a recording, the median.
        first: Seconds of the first recording, which compiles.
        each: Lower quartile, median and upper quartile of the time of an epoch that is recorded over
            that of the epoch before, which is not.
        default: The same of whole trainings with the monitor's defaults over those without it.
        share: Time inside the monitor over the other time of such a training, the median.
        recorded: Share of the epochs that were recorded by default.
    """

    backend: str
    network: str
    epoch: float
    recording: float
    first: float
    each: tuple[float, float, float]
    default: tuple[float, float, float]
    share: float
    recorded: float
