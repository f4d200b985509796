"""What a measurement on a GPU is. Workers append records to a file as JSON lines; the report reads them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from tools.bench.records import Machine


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
        ratio, low, high: Median and quartiles over rounds of its time over ReLU's in the same round.
        rounds: How many rounds there were at most.
        floor: Milliseconds that a copy kernel takes to move the bytes that the activation has to move; None for networks.
        launch: Milliseconds of the same run on a tensor of a few elements: what is spent beside moving bytes; None for networks.
        peak_bytes: The most device memory that a program takes which runs this alone; None where the backend doesn't tell.
        residual_bytes: What the forward pass keeps for the backward pass; None where it is not counted.
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
_KINDS = {kind.__name__: kind for kind in (Machine, Timing, Fact, Failure)}


class Log:
    """A file that records are appended to, each as soon as it is known: what is killed afterwards loses none.

    Args:
        path: The file.
        task: What the records belong to.
    """

    def __init__(self, path: Path, task: str) -> None:
        self._path, self._task = path, task

    def begin(self) -> None:
        """Forget what an earlier run of the task found."""
        if self._path.exists():
            lines = [line for line in _lines(self._path) if json.loads(line)["task"] != self._task]
            self._path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def add(self, record: Record) -> None:
        line = json.dumps(
            {"task": self._task, "type": type(record).__name__, **dataclasses.asdict(record)}
        )
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)


def by_task(path: Path) -> dict[str, list[dict]]:
    """The records of a file as JSON objects, by task."""
    found: dict[str, list[dict]] = {}
    for line in _lines(path):
        fields = json.loads(line)
        found.setdefault(fields.pop("task"), []).append(fields)
    return found


def record_of(fields: dict) -> Record:
    """The record that a JSON object holds."""
    fields = dict(fields)
    return _KINDS[fields.pop("type")](**fields)


def _lines(path: Path) -> list[str]:
    """All lines but a last one that was cut off."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
