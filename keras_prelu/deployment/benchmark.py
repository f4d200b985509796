"""The cost of an exported model in its runtime, compared with the same network with ReLUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_prelu.deployment.formats.base import Format, Interface
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.timing import compare

__all__ = ["Cost", "measure_cost", "size_in_bytes"]

_THREADS, _ROUNDS, _SECONDS = 1, 1000, 10.0


@dataclass(frozen=True)
class Cost:
    """Time and size of a file, and their ratios to those of the same network with ReLUs.

    In that network, every PReLU is a ReLU. Both files run one sample alternately, on one thread if
    the number of threads can be set (not for a SavedModel). Times are processor times, to which
    other processes add little. The network with ReLUs has the weights of the network with PReLUs,
    since times don't depend on weights.

    Attributes:
        milliseconds: Float. Median processor time of a sample.
        milliseconds_with_relu: Float. Median time of a sample with ReLUs.
        ratio: Float. Median over rounds of the ratio of the two times in the round.
        low: Float. Lower quartile of that ratio.
        high: Float. Upper quartile of that ratio.
        size_ratio: Float. Ratio of the files' sizes.
        threads: Integer or None. Threads of the runtime; None if the runtime chooses.
    """

    milliseconds: float
    milliseconds_with_relu: float
    ratio: float
    low: float
    high: float
    size_ratio: float
    threads: int | None


def measure_cost(
    format_: Format, path: Path, path_with_relus: Path, inputs: Any, interface: Interface
) -> Cost:
    """Compare two files in the runtime of their format.

    Args:
        format_: `Format`. The format of the two files.
        path: Path. The file, or folder, to measure.
        path_with_relus: Path. The file, or folder, of the same network with ReLUs.
        inputs: Array, or a structure of arrays, as the model takes them. The first sample is used.
        interface: `Interface` of the model.
    """
    sample = keras.tree.map_structure(lambda array: array[:1], inputs)
    threads = _THREADS if format_.takes_threads else None
    load = on_large_graphs(format_.load)
    prelu_runner, relu_runner = (load(each, interface, threads) for each in (path, path_with_relus))
    times = compare(
        {"relu": lambda: relu_runner(sample), "prelu": lambda: prelu_runner(sample)},
        "relu",
        rounds=_ROUNDS,
        seconds=_SECONDS,
        processor_time=True,
    )
    return Cost(
        milliseconds=times["prelu"].milliseconds,
        milliseconds_with_relu=times["relu"].milliseconds,
        ratio=times["prelu"].median,
        low=times["prelu"].low,
        high=times["prelu"].high,
        size_ratio=_export_size(format_, path) / _export_size(format_, path_with_relus),
        threads=threads,
    )


def _export_size(format_: Format, path: Path) -> int:
    return sum(map(size_in_bytes, format_.parts(path)))


def size_in_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
