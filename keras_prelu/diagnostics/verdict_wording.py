"""The words of a verdict on two models, for all comparisons."""

from __future__ import annotations

import math

__all__ = ["NO_INTERVAL", "ends_text", "interval_text", "verdict_text"]

NO_INTERVAL = "no interval"


def verdict_text(
    verdict: str, a: str, b: str, *, doubt: str, better_in: str = "", worse_in: str = ""
) -> str:
    """Return a verdict in words.

    Args:
        verdict: String. "better", "worse", "mixed", "as good" or "can't tell".
        a: String. The name of model a.
        b: String. The name of model b.
        doubt: String. What is not enough to tell, after "can't tell": "with 2 runs".
        better_in: String. The metrics by which a is better; for "mixed".
        worse_in: String. Those by which it is worse; for "mixed", and for "worse" if they are to be
            named. Defaults to none.
    """
    return {
        "better": f"{a} is better than {b}",
        "worse": f"{a} is worse than {b}{f' in {worse_in}' if worse_in else ''}",
        "mixed": f"{a} is better than {b} in {better_in} but worse in {worse_in}",
        "as good": f"{a} is as good as {b}",
        "can't tell": f"Can't tell {a} from {b} {doubt}",
    }[verdict]


def ends_text(low: float, high: float) -> str:
    """Return the ends of an interval, if it has any."""
    has_ends = math.isfinite(low) and math.isfinite(high)
    return f"{low:+.4f} to {high:+.4f}" if has_ends else NO_INTERVAL


def interval_text(low: float, high: float) -> str:
    """Return a 95 % interval in words, if it has ends."""
    ends = ends_text(low, high)
    return ends if ends == NO_INTERVAL else f"95 % interval {ends}"
