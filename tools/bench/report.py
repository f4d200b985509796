"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tools.bench.records import OURS, RELU, STOCK, Failure, Machine, Measurement


@dataclass(frozen=True)
class Run:
    """What one backend gave."""

    backend: str
    machine: Machine
    results: tuple[Measurement | Failure, ...]


INTRODUCTION = """# What PReLU costs

Made by `python -m tools.bench`; the same figures are in `results.json`. ReLU, `keras.layers.PReLU` and `keras_prelu.PReLU` (both with
one slope a channel, 0.25) take turns in one process, in an order reversed from round to round. ReLU's column is the median; the
others are the median of the ratio to ReLU in the same round, with its quartiles: **below 1 is cheaper than ReLU**. Bytes are counted,
not sampled, so they have no spread. "Floor" is the time that a copy kernel takes for the traffic of five passes (read x, write y; read g,
read y, write dx) on the same tensor, and in brackets the share of it that the activation reaches.
"""


def markdown(runs: Sequence[Run]) -> str:
    """All tables: what was measured on which machine, then a table for each quantity."""
    lines = [INTRODUCTION, "## Machine", ""]
    for run in runs:
        versions = ", ".join(f"{name} {version}" for name, version in run.machine.versions.items())
        lines.append(
            f"- {run.backend}: {run.machine.device}, {run.machine.cores} cores; {versions}"
        )
    measured = [result for run in runs for result in run.results if isinstance(result, Measurement)]
    for quantity in dict.fromkeys(result.quantity for result in measured):
        lines += [
            "",
            f"## {quantity[0].upper()}{quantity[1:]}",
            "",
            *_table([m for m in measured if m.quantity == quantity]),
        ]
    failures = [result for run in runs for result in run.results if isinstance(result, Failure)]
    if failures:
        lines += ["", "## What could not be measured", ""]
        lines += [f"- {f.backend} {f.mode}, {f.work}, {f.dtype}: {f.reason}" for f in failures]
    return "\n".join(lines) + "\n"


def _table(measurements: Iterable[Measurement]) -> list[str]:
    measurements = list(measurements)
    floors = any(m.floor is not None for m in measurements)
    names = [f"`{STOCK}`", f"`{OURS}`", *(["floor (ours)"] if floors else [])]
    lines = [
        f"| backend | mode | work | dtype | {RELU} | {' | '.join(names)} |",
        "|---|---|---|---|---:|" + "---:|" * len(names),
    ]
    for (backend, mode, work, dtype), group in groupby(
        measurements, key=lambda m: (m.backend, m.mode, m.work, m.dtype)
    ):
        row = {m.activation: m for m in group}
        cells = [
            backend,
            mode,
            work,
            dtype,
            f"{row[RELU].value:.4g}",
            _ratio(row[STOCK]),
            _ratio(row[OURS]),
        ]
        if floors:
            cells.append(f"{row[OURS].floor:.4g} ({row[OURS].floor / row[OURS].value:.0%})")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ratio(measurement: Measurement) -> str:
    if measurement.low == measurement.high:
        return f"{measurement.ratio:.3f}"
    return f"{measurement.ratio:.2f} [{measurement.low:.2f}, {measurement.high:.2f}]"
