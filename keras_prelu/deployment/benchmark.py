"""What an exported model costs in its runtime, beside the same network with ReLUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_prelu.deployment.format import Format
from keras_prelu.utils.timing import compare

__all__ = ["Cost", "cost", "size"]

_THREADS, _ROUNDS, _SECONDS = 1, 1000, 10.0


@dataclass(frozen=True)
class Cost:
    """Time and size of a file, and their ratios to those of a file of the same network in which
    every PReLU is a ReLU.

    Both run one sample in turn, on one thread where the runtime can be told (a SavedModel's can't).
    The network with ReLUs has the weights of the one with PReLUs: times don't depend on them.

    Attributes:
        milliseconds: Median time of a sample.
        milliseconds_with_relu: The same with ReLUs.
        ratio: Median over rounds of the ratio of the two times in the round.
        low, high: Quartiles of that ratio.
        size_ratio: Of the files' sizes.
        threads: Of the runtime; None for what it takes by itself.
    """

    milliseconds: float
    milliseconds_with_relu: float
    ratio: float
    low: float
    high: float
    size_ratio: float
    threads: int | None


def cost(format_: Format, path: Path, with_relus: Path, inputs: Any) -> Cost:
    """Compare two files in the runtime of their format.

    Args:
        format_: The format.
        path: The file, or folder, whose cost is asked for.
        with_relus: That of the same network with ReLUs.
        inputs: Inputs as the model takes them, of which the first is used.
    """
    one, threads = (
        keras.tree.map_structure(lambda part: part[:1], inputs),
        _THREADS if format_.takes_threads else None,
    )
    ours, relus = (format_.load(file, threads) for file in (path, with_relus))
    times = compare(
        {"relu": lambda: relus(one), "ours": lambda: ours(one)},
        "relu",
        rounds=_ROUNDS,
        seconds=_SECONDS,
    )
    found = times["ours"]
    sizes = sum(map(size, format_.parts(path))) / sum(map(size, format_.parts(with_relus)))
    return Cost(
        found.milliseconds,
        times["relu"].milliseconds,
        found.median,
        found.low,
        found.high,
        sizes,
        threads,
    )


def size(path: Path) -> int:
    """The bytes of a file, or of all in a folder."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if path.is_dir()
        else path.stat().st_size
    )
