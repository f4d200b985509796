"""The words of a verdict on two models, for all comparisons.

The verdict of a fine-tuning combines such sentences, see `training.verdict`. The command line, the
demo and the report print what these two return.
"""

from __future__ import annotations

import math
from typing import Protocol

__all__ = [
    "NO_INTERVAL",
    "comparison_sentence",
    "ends_text",
    "interval_text",
    "metric_sentence",
    "runs_sentence",
    "verdict_text",
]

NO_INTERVAL = "no interval"


class Compared(Protocol):
    """Two models compared by one metric, such as a `Comparison`."""

    @property
    def metric(self) -> str: ...

    @property
    def samples(self) -> int: ...

    @property
    def a(self) -> float: ...

    @property
    def b(self) -> float: ...

    @property
    def gain(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


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


def metric_sentence(name: str, *, verdict: str, a: float, b: float, low: float, high: float) -> str:
    """Return the figures of one metric of two models, with its verdict, as one sentence."""
    return f"{name}: {verdict}, {a:.4f} against {b:.4f} ({interval_text(low, high)})."


def comparison_sentence(meaning: str, compared: Compared, *, runs: int, note: str) -> str:
    """Return a verdict on samples with its figures, as one sentence.

    Args:
        meaning: String. What `verdict_text` returns.
        compared: `Compared`.
        runs: Integer. The number of trainings of each model.
        note: String. Why there is no interval, or "".
    """
    trainings = "one run" if runs == 1 else f"{runs} runs"
    reason = f"; {note}" if note else ""
    return (
        f"{meaning}: {_scores(compared, compared.gain)} "
        f"({interval_text(compared.low, compared.high)}, n = {compared.samples:,},"
        f" {trainings}{reason})."
    )


def runs_sentence(
    meaning: str, compared: Compared, *, gain: float, over_runs: str, runs: int, note: str
) -> str:
    """Return a verdict over several trainings with its figures, as one sentence.

    Args:
        meaning: String. What `verdict_text` returns.
        compared: `Compared` over samples.
        gain: Float. The mean gain over runs.
        over_runs: String. What is known of the gain over runs: an interval, or why there is none.
        runs: Integer. The number of trainings of each model.
        note: String. Why there is no interval over samples, or "".
    """
    reason = f", as {note}" if note else ""
    return (
        f"{meaning}: {_scores(compared, gain)} ({over_runs}; over samples"
        f" {ends_text(compared.low, compared.high)}{reason}; n = {compared.samples:,},"
        f" {runs} runs)."
    )


def _scores(compared: Compared, gain: float) -> str:
    return f"{compared.metric} {compared.a:.4f} against {compared.b:.4f}, gain {gain:+.4f}"
