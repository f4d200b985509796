"""Results and RESULTS.md of the fuzzing."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tools.common.markdown import table
from tools.common.storage import Report, Section
from tools.fuzz.archives import Case
from tools.fuzz.processes import Outcome
from tools.fuzz.surgery import Operation


@dataclass(frozen=True)
class MutationCount:
    """What became of the archives of one mutation.

    Attributes:
        mutation: Name of the mutation; "" for archives that ended the process.
        tried: Number of archives.
        converted: How many were converted all the same.
        broken: How many broke a promise.
    """

    mutation: str
    tried: int
    converted: int
    broken: int


@dataclass(frozen=True)
class DisturbanceCount:
    """What became of the conversions of one disturbance.

    Attributes:
        disturbance: What was done.
        tried: Number of conversions.
        broken: How many broke a promise.
    """

    disturbance: str
    tried: int
    broken: int


@dataclass(frozen=True)
class OperationCount:
    """What became of one operation on random networks.

    Attributes:
        operation: Name of the operation; "" for networks that ended the process.
        tried: Number of networks.
        refused: How many were refused with a reason.
        broken: How many broke a promise.
        error_none: Median error of slopes of 0.25 without calibration; of "calibrate" only.
        error: Median error after calibration; of "calibrate" only.
    """

    operation: str
    tried: int
    refused: int
    broken: int
    error_none: float | None = None
    error: float | None = None


def count_operations(operations: Sequence[Operation]) -> Iterator[OperationCount | Operation]:
    """Count operations by kind; those that broke a promise follow."""
    for name in dict.fromkeys(operation.operation for operation in operations):
        group = [operation for operation in operations if operation.operation == name]
        errors = [item.error for item in group if item.error is not None]
        errors_none = [item.error_none for item in group if item.error_none is not None]
        yield OperationCount(
            operation=name,
            tried=len(group),
            refused=sum(bool(item.refusal) for item in group),
            broken=sum(bool(item.broken) for item in group),
            error_none=statistics.median(errors_none) if errors_none else None,
            error=statistics.median(errors) if errors else None,
        )
    yield from (operation for operation in operations if operation.broken)


def count_cases(cases: Sequence[Case]) -> Iterator[MutationCount | Case]:
    """Count archives by mutation; those that broke a promise follow."""
    for mutation in sorted({case.mutation for case in cases}):
        group = [case for case in cases if case.mutation == mutation]
        yield MutationCount(
            mutation=mutation,
            tried=len(group),
            converted=sum(case.exit_code == 0 for case in group),
            broken=sum(bool(case.broken) for case in group),
        )
    yield from (case for case in cases if case.broken)


def count_outcomes(outcomes: Sequence[Outcome]) -> Iterator[DisturbanceCount | Outcome]:
    """Count conversions by disturbance; those that broke a promise follow."""
    tried = Counter(outcome.disturbance for outcome in outcomes)
    broken = Counter(outcome.disturbance for outcome in outcomes if outcome.broken)
    for disturbance, count in sorted(tried.items()):
        yield DisturbanceCount(disturbance=disturbance, tried=count, broken=broken[disturbance])
    yield from (outcome for outcome in outcomes if outcome.broken)


def broken_promises(results: Iterable[object]) -> int:
    """Return how many promises were broken."""
    return sum(isinstance(result, (Case, Operation, Outcome)) for result in results)


def archives(results: Sequence[MutationCount | Case]) -> str:
    """Return the table by mutation."""
    counts = [result for result in results if isinstance(result, MutationCount)]
    total = MutationCount(
        mutation="all",
        tried=sum(count.tried for count in counts),
        converted=sum(count.converted for count in counts),
        broken=sum(count.broken for count in counts),
    )
    rows = [_mutation(count) for count in counts]
    rows.append([f"**{cell}**" for cell in _mutation(total)])
    header = ["mutated archive", "tried", "converted all the same", "refused in one line"]
    return table([*header, "broken promises"], rows)


def _mutation(count: MutationCount) -> list[str]:
    refused = count.tried - count.converted - count.broken
    numbers = (count.tried, count.converted, refused, count.broken)
    name = count.mutation.replace("_", " ") or "(ended the process)"
    return [name, *map(str, numbers)]


def networks(results: Sequence[OperationCount | Operation]) -> str:
    """Return the table by operation, and the networks that broke a promise."""
    counts = [result for result in results if isinstance(result, OperationCount)]
    rows = [
        [
            count.operation or "(ended the process)",
            str(count.tried),
            str(count.tried - count.refused - count.broken),
            str(count.refused),
            str(count.broken),
            "" if count.error is None else f"{count.error_none:.2g} → {count.error:.2g}",
        ]
        for count in counts
    ]
    broken = [
        [str(result.seed), result.operation, result.broken, result.blocks]
        for result in results
        if isinstance(result, Operation)
    ]
    header = ["operation", "networks", "kept its promise", "refused with a reason"]
    header += ["broken promises", "median error, uncalibrated → calibrated"]
    tables = [table(header, rows)]
    if broken:
        tables.append(table(["seed", "operation", "broken promise", "network"], broken))
    return "\n\n".join(tables)


def processes(results: Sequence[DisturbanceCount | Outcome]) -> str:
    """Return the table by disturbance."""
    counts = [result for result in results if isinstance(result, DisturbanceCount)]
    rows = [[count.disturbance, str(count.tried), str(count.broken)] for count in counts]
    return table(["disturbance", "tried", "broken promises"], rows)


REPORT = Report(
    tool="fuzz",
    title="What conversion survives",
    introduction="""A conversion keeps its promises if it succeeds with a file that loads, or fails
    with one line on standard error, no output and no temporary file; and leaves its input as it
    was.""",
    kinds=(MutationCount, Case, OperationCount, Operation, DisturbanceCount, Outcome),
    sections={
        "archives": Section(
            title="Damaged archives",
            text="A seed recreates an archive; the first is 0 unless `--seed` says otherwise.",
            tables=archives,
        ),
        "networks": Section(
            title="Random networks",
            text="""Networks of random Keras layers, operations, masks, structures, dtype policies and
            spellings of rectifiers; a seed recreates one. At slope 0 the converted network has the
            outputs of the original up to rounding (1e-4 of their spread in float32, or four times
            what rounding the inputs changes), also after it was saved and loaded. Calibrated
            at 0.25 on 128 samples, its error on 512 new ones is at most 1.1 times that of slopes of
            0.25 alone, or the difference is within three standard errors. `bake` and `equalize` keep the function, `revive` keeps it but for the recorded error. The
            original's variables are the same bits afterwards. Anything else must be refused with a
            reason. Every fifth network is also converted to ReLU and LeakyReLU, which keeps the
            function; simplified, from slopes that differ by channel, and converted with
            `profile="deployment"`, where the error is of the size that was recorded on all but
            7/128 of the new samples, since some may do what none of the 128 calibration samples
            did, such as reaching a cap that was removed; and wrapped in a model that is Python
            code, and converted in place.""",
            tables=networks,
        ),
        "processes": Section(
            title="Disturbed processes",
            text="After a kill the same command, repeated, works and removes what was left behind.",
            tables=processes,
        ),
    },
)
