"""RESULTS.md of the GPU benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tools.bench.gpu.records import Fact, Failure, Record, Timing, record_of
from tools.bench.records import RELU
from tools.common.machine import Machine, describe
from tools.common.markdown import paragraph, table
from tools.common.statistics import quartiles

INTRODUCTION = """Written by `KERAS_BACKEND=jax python -m tools.bench.gpu` and the same with torch;
the same figures are in `results.json`. Times are medians of runs taken in turn; a ratio is the median,
over rounds, of the time over ReLU's in the same round, with its quartiles: **below 1 is cheaper
than ReLU**. Memory is the most that a program of this alone takes on the device: on JAX what XLA's
program takes, on PyTorch what its allocator provided at most. Products in float32 have each
backend's default precision."""
_ACTIVATION = """The floor is the time that a copy kernel takes, on tensors of the same shape and
dtype, to move what has to be moved: forward reads x and writes y; backward reads y and the upstream
gradient and writes x's, five passes in all. The share is that time over the measured one. XLA
compiles both passes into one program here, which may read x once, so that a share above 1 is
possible. "Launch" is the same run on a single pixel: where it comes near the time, the host takes
most of it. Residuals are what the forward pass keeps. "graph" is eager PyTorch's work captured as a
CUDA graph, without the host's time."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A record, and where it was measured."""

    backend: str
    device: str
    record: Record


def markdown(results: dict, *, trial: bool) -> str:
    """Return all tables, of results by backend and task."""
    found = list(_found(results))
    lines = ["# What PReLU costs on a GPU", ""]
    if trial:
        lines += ["**A trial: it shows that everything runs, and its figures mean nothing.**", ""]
    lines += [paragraph(INTRODUCTION), "", *_machines(results)]
    lines += _section("A training step", _networks(found, "step"))
    lines += _section("A prediction", _networks(found, "inference"))
    lines += _section("The activation alone", _activations(found), _ACTIVATION)
    lines += _section("The whole job", _facts(found, "job"))
    lines += _section("`keras-prelu demo`", _facts(found, "demo"))
    lines += _section("What moving bytes takes, and what waits", _facts(found, "activation"))
    failures = [
        f"- {item.backend}, {item.record.part}: {item.record.work}: {item.record.reason}"
        for item in found
        if _is(item, Failure)
    ]
    lines += _section("What could not be measured", failures)
    return "\n".join(lines) + "\n"


def _found(results: dict) -> Iterator[_Found]:
    for backend, tasks in sorted(results.items()):
        if backend == "trial":
            continue
        for records in tasks.values():
            device = "unknown"
            for record in map(record_of, records):
                if isinstance(record, Machine):
                    device = record.device
                else:
                    yield _Found(backend=backend, device=device, record=record)


def _is(item: _Found, kind: type, part: str | None = None) -> bool:
    return isinstance(item.record, kind) and part in (None, item.record.part)


def _machines(results: dict) -> list[str]:
    records = (
        record_of(fields)
        for name, tasks in sorted(results.items())
        if name != "trial"
        for found in tasks.values()
        for fields in found
    )
    lines = [f"- {describe([machine])}" for machine in records if isinstance(machine, Machine)]
    return list(dict.fromkeys(lines))


def _section(title: str, content: list[str], introduction: str = "") -> list[str]:
    if not content:
        return []
    return [
        "",
        f"## {title}",
        "",
        *([paragraph(introduction), ""] if introduction else []),
        *content,
    ]


def _table(titles: dict[str, bool], rows: list[list[str]]) -> list[str]:
    """Return a table; each title says whether its column holds numbers."""
    if not rows:
        return []
    left = [index for index, number in enumerate(titles.values()) if not number]
    return [table(list(titles), rows, left=left)]


def _networks(found: list[_Found], part: str) -> list[str]:
    chosen = [item for item in found if _is(item, Timing, part)]
    titles = {"backend": False, "device": False, "work": False, "dtype": False, "activation": False}
    rows = []
    for item in chosen:
        timing, relu = item.record, _relu(item, chosen)
        memory = ["–", "–"]
        if timing.peak_bytes:
            memory = [
                f"{timing.peak_bytes / 1e9:.2f}",
                f"{timing.peak_bytes / relu.peak_bytes:.2f}" if relu and relu.peak_bytes else "–",
            ]
        where = [item.backend, item.device, timing.work, timing.dtype, timing.activation]
        rows.append([*where, f"{timing.milliseconds:.2f}", _ratio(timing), *memory])
    return _table(
        {**titles, "ms": True, "ratio": True, "memory, GB": True, "its ratio": True}, rows
    )


def _activations(found: list[_Found]) -> list[str]:
    titles = {
        "backend": False,
        "device": False,
        "mode": False,
        "work": False,
        "dtype": False,
        "activation": False,
    }
    numbers = ("ms", "ratio", "share of floor", "launch, ms", "memory, GB", "residuals, GB")
    rows = []
    for item in found:
        if not _is(item, Timing, "activation"):
            continue
        timing = item.record
        share = "–" if timing.floor is None else f"{timing.floor / timing.milliseconds:.2f}"
        launch = "–" if timing.launch is None else f"{timing.launch:.3f}"
        where = [
            item.backend,
            item.device,
            timing.mode,
            timing.work,
            timing.dtype,
            timing.activation,
        ]
        memory = [_gigabytes(timing.peak_bytes), _gigabytes(timing.residual_bytes)]
        rows.append([*where, f"{timing.milliseconds:.3f}", _ratio(timing), share, launch, *memory])
    return _table({**titles, **dict.fromkeys(numbers, True)}, rows)


def _facts(found: list[_Found], part: str) -> list[str]:
    rows = [
        [
            item.backend,
            item.device,
            item.record.name,
            f"{_value(item.record.value)} {item.record.unit}".strip(),
        ]
        for item in found
        if _is(item, Fact, part)
    ]
    return _table({"backend": False, "device": False, "what": False, "found": False}, rows)


def _relu(item: _Found, found: list[_Found]) -> Timing | None:
    same = (
        other.record
        for other in found
        if other.backend == item.backend
        and (other.record.work, other.record.dtype) == (item.record.work, item.record.dtype)
    )
    return next((timing for timing in same if timing.activation == RELU), None)


def _ratio(timing: Timing) -> str:
    return quartiles(timing.ratio, timing.low, timing.high)


def _gigabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e9:.3f}"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
