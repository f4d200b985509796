"""How many samples a verdict would need, if their gains were like those that were observed."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["needed_samples"]

_MOST_DOUBLINGS = 20


def needed_samples(
    samples: int, verdict_with: Callable[[int], str | None]
) -> tuple[int, str] | None:
    """Return about how many samples are enough for a verdict, and that verdict.

    Twice as many, four times as many and so on are tried. Between these, the round number is
    returned from which on all of them have a verdict: where few samples differ, a larger number may
    have none again, since numbers of outcomes are whole.

    Args:
        samples: Integer. The number of samples, which has no verdict.
        verdict_with: Function from a number of samples to the verdict that so many would lead to,
            or None.

    Returns:
        None if a million times as many samples have no verdict either.
    """
    doubled = (samples * 2**times for times in range(1, _MOST_DOUBLINGS + 1))
    enough = next((count for count in doubled if verdict_with(count) is not None), None)
    if enough is None:
        return None
    between = [_rounded_up(samples + 1)]
    while between[-1] < enough:
        between.append(_rounded_up(between[-1] + 1))
    needed, verdict = enough, verdict_with(enough)
    for count in reversed(between):
        found = verdict_with(count)
        if found is None:
            break
        needed, verdict = count, found
    assert verdict is not None
    return needed, verdict


def _rounded_up(count: int) -> int:
    """Return the next number of two digits and zeros, in steps of five to ten percent."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    step = unit * next(step for most, step in ((20, 1), (50, 2), (100, 5)) if count <= most * unit)
    return math.ceil(count / step) * step
