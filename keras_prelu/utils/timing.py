"""Timing of alternatives in turn, so that disturbances of the machine affect all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Ratio", "compare"]


@dataclass(frozen=True)
class Ratio:
    """The time of an alternative, and its ratio to the reference.

    Attributes:
        milliseconds: Float. Median time of a call.
        low: Float. Lower quartile over rounds of the ratio of the two times in a round.
        median: Float. Median of that ratio.
        high: Float. Upper quartile of that ratio.
    """

    milliseconds: float
    low: float
    median: float
    high: float


def compare(
    candidates: Mapping[str, Callable[[], object]],
    reference: str,
    *,
    rounds: int,
    seconds: float = float("inf"),
    warm_up: int = 3,
    processor_time: bool = False,
) -> dict[str, Ratio]:
    """Time each candidate once a round, in an order that is reversed from round to round.

    Args:
        candidates: Mapping of functions by name. Each call must return when its work is done.
        reference: String. The name of the candidate that the others' times are divided by.
        rounds: Integer. The largest number of rounds.
        seconds: Float. No round begins later than this after the warm-up, except for the first two
            rounds. Defaults to no limit.
        warm_up: Integer. Calls of each candidate that aren't timed. Defaults to 3.
        processor_time: Boolean. Whether only what this process computes is counted, on all its
            threads. Defaults to False.

    Returns:
        A dict of `Ratio` by name.
    """
    clock = time.process_time if processor_time else time.perf_counter
    for function in candidates.values():
        for _ in range(warm_up):
            function()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 2 and time.perf_counter() > end:
            break
        for name in list(candidates)[:: 1 if number % 2 else -1]:
            start = clock()
            candidates[name]()
            times[name].append(clock() - start)
    return {
        name: _ratio(np.array(seconds_taken), np.array(times[reference]))
        for name, seconds_taken in times.items()
    }


def _ratio(times: np.ndarray, reference: np.ndarray) -> Ratio:
    low, median, high = np.quantile(times / reference, [0.25, 0.5, 0.75])
    return Ratio(
        milliseconds=float(np.median(times)) * 1e3,
        low=float(low),
        median=float(median),
        high=float(high),
    )
