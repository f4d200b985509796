"""`python -m tools.fuzz`: damage archives, disturb processes; write RESULTS.md and results.json."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from tools.common import options
from tools.common.processes import WorkerFailed, json_lines, quiet
from tools.common.records import decode
from tools.common.storage import Storage
from tools.fuzz.archives import Case
from tools.fuzz.processes import Outcome, full_disks, kills, read_only, two_at_once, write_model
from tools.fuzz.report import REPORT, broken_promises, count_cases, count_outcomes

_BATCH = 100


@click.command()
@options.parts(REPORT.sections)
@click.option("--archives", default=2000, show_default=True, help="Number of damaged archives.")
@click.option("--kill", "kill_count", default=50, show_default=True, help="Conversions to kill.")
@click.option(
    "--disks",
    default=10,
    show_default=True,
    help="Full disks. Needs the right to mount a file system; 0 leaves them out.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Seed of the first mutation, the kills and the disks.",
)
@options.output
def main(
    parts: tuple[str, ...],
    archives: int,
    kill_count: int,
    disks: int,
    seed: int,
    output: Path | None,
) -> None:
    """Damage files and processes. Takes about half an hour on two cores."""
    quiet()
    storage = Storage(options.results_folder(output, False, __file__), REPORT)
    if "archives" in parts:
        cases = [
            case
            for first in range(seed, seed + archives, _BATCH)
            for case in _batch(first, min(_BATCH, seed + archives - first))
        ]
        storage.merge("archives", count_cases(cases))
    if "processes" in parts:
        storage.merge("processes", count_outcomes(list(_outcomes(kill_count, disks, seed))))
    if any(broken_promises(storage.results(part)) for part in parts):
        raise click.ClickException(f"A promise was broken. See {storage.folder / 'results.json'}.")


def _outcomes(kill_count: int, disks: int, seed: int) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.keras"
        write_model(model)
        for outcome in _disturbances(model, kill_count, disks, seed):
            click.echo(f"{outcome.disturbance}: {outcome.broken or 'kept'}", err=True)
            yield outcome


def _disturbances(model: Path, kill_count: int, disks: int, seed: int) -> Iterator[Outcome]:
    yield from kills(model, kill_count, seed)
    if disks:
        yield from full_disks(model, disks, seed)
        yield read_only(model)
    yield two_at_once(model)


def _batch(first: int, count: int) -> Iterator[Case]:
    """Try archives in a process of their own. An archive that ends the process broke a promise;
    another process tries those after it."""
    cases: list[Case] = []
    starting = None
    try:
        for line in json_lines("tools.fuzz.archives", str(first), str(count)):
            starting = line.get("starting")
            if starting is None:
                cases.append(decode(line, (Case,)))
    except WorkerFailed as failure:
        if starting is None:
            raise
        ended = Case(
            seed=starting,
            mutation="",
            exit_code=failure.returncode,
            message="",
            broken=f"the process ended: {failure.errors[-200:]}",
        )
        yield from [*cases, ended]
        if starting + 1 < first + count:
            yield from _batch(starting + 1, first + count - starting - 1)
        return
    broken = sum(bool(case.broken) for case in cases)
    click.echo(f"Archives {first} to {first + count - 1}: {broken} broken promises", err=True)
    yield from cases


if __name__ == "__main__":
    main()
