"""Times of things that do the same work, taken in turn, so that what disturbs the machine disturbs
all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Ratio", "compare"]


@dataclass(frozen=True)
class Ratio:
    """Median milliseconds, and the quartiles of the ratio to the reference round by round."""

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
) -> dict[str, Ratio]:
    """Time each candidate once a round, the order reversed from round to round, until all rounds or
    so many seconds are over.

    Args:
        candidates: What to time, by name. Each call must return when its work is done.
        reference: The name of what the others' times are divided by.
        rounds: How many at most. There are two at least.
        seconds: How long at most, beyond what is warmed up with and the first two rounds.
        warm_up: Calls of each that aren't timed.
    """
    for run in candidates.values():
        for _ in range(warm_up):
            run()
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 2 and time.perf_counter() > end:
            break
        for name in list(candidates)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            candidates[name]()
            taken[name].append(time.perf_counter() - start)
    return {
        name: _ratio(np.array(times), np.array(taken[reference])) for name, times in taken.items()
    }


def _ratio(times: np.ndarray, reference: np.ndarray) -> Ratio:
    low, median, high = np.quantile(times / reference, [0.25, 0.5, 0.75])
    return Ratio(float(np.median(times)) * 1e3, float(low), float(median), float(high))
