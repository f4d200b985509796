"""Results of the GPU benchmark. Workers append them to a file as JSON lines; the report reads
them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tools.common.machine import Machine
from tools.common.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One activation at one piece of work.

    Attributes:
        part: The part of the benchmark.
        mode: How the backend ran it: "jit", "eager", "graph" (a captured CUDA graph), "compile".
        work: What was run, and on what shape.
        dtype: Keras dtype policy.
        activation: A name of `variants.VARIANTS`.
        milliseconds: Median of one run.
        ratio: Median over rounds of its time over ReLU's in the same round.
        low: Lower quartile of that ratio.
        high: Upper quartile.
        rounds: Most rounds that were allowed.
        floor: Milliseconds that a copy kernel takes to move the bytes that the activation has to
            move; None for networks.
        launch: Milliseconds of the same run on a tensor of a few elements, spent on other work than
            moving bytes; None for networks.
        peak_bytes: Most device memory of a program that runs this alone; None where the backend
            does not report it.
        residual_bytes: What the forward pass keeps for the backward pass; None where it is not
            counted.
    """

    part: str
    mode: str
    work: str
    dtype: str
    activation: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    floor: float | None = None
    launch: float | None = None
    peak_bytes: int | None = None
    residual_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One figure, or sentence, of a job."""

    part: str
    name: str
    value: float | str
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What could not be measured, and why."""

    part: str
    work: str
    reason: str

    @classmethod
    def of(cls, part: str, work: str, problem: BaseException) -> Failure:
        text = " ".join(f"{type(problem).__name__}: {problem}".split())
        return cls(part=part, work=work, reason=text[:300])


Record = Machine | Timing | Fact | Failure
_KINDS = (Machine, Timing, Fact, Failure)


class Log:
    """A file to which each record is appended at once, so that a process that is killed loses none.

    Args:
        path: The file.
        task: Task that the records belong to.
    """

    def __init__(self, path: Path, task: str) -> None:
        self._path, self._task = path, task

    def begin(self) -> None:
        """Remove the records of an earlier run of the task."""
        if self._path.exists():
            lines = [line for line in _lines(self._path) if json.loads(line)["task"] != self._task]
            self._path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, record: Record) -> None:
        line = json.dumps({"task": self._task, **encode(record)})
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)


def by_task(path: Path) -> dict[str, list[dict]]:
    """Return the records of a file as JSON objects, by task."""
    found: dict[str, list[dict]] = {}
    for line in _lines(path):
        fields = json.loads(line)
        found.setdefault(fields.pop("task"), []).append(fields)
    return found


def record_of(fields: dict) -> Record:
    """Return the record that a JSON object holds."""
    return decode(fields, _KINDS)


def _lines(path: Path) -> list[str]:
    """Return all lines except a last one that was cut off."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
