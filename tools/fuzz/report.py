"""Results and RESULTS.md of the fuzzing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tools.common.markdown import table
from tools.common.storage import Report, Section
from tools.fuzz.archives import Case
from tools.fuzz.processes import Outcome


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
    return sum(isinstance(result, (Case, Outcome)) for result in results)


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


def processes(results: Sequence[DisturbanceCount | Outcome]) -> str:
    """Return the table by disturbance."""
    counts = [result for result in results if isinstance(result, DisturbanceCount)]
    rows = [[count.disturbance, str(count.tried), str(count.broken)] for count in counts]
    return table(["disturbance", "tried", "broken promises"], rows)


REPORT = Report(
    tool="fuzz",
    title="What `keras-prelu convert` survives",
    introduction="""A conversion keeps its promises if it succeeds with a file that loads, or fails
    with one line on standard error, no output and no temporary file; and leaves its input as it
    was.""",
    kinds=(MutationCount, Case, DisturbanceCount, Outcome),
    sections={
        "archives": Section(
            title="Damaged archives",
            text="A seed recreates an archive; the first is 0 unless `--seed` says otherwise.",
            tables=archives,
        ),
        "processes": Section(
            title="Disturbed processes",
            text="After a kill the same command, repeated, works and removes what was left behind.",
            tables=processes,
        ),
    },
)
