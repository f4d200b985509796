"""`python -m tools.fuzz`: damage archives, disturb processes, convert random networks; write RESULTS.md
and results.json."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from tools.common import options
from tools.common.processes import WorkerFailed, json_lines, quiet
from tools.common.records import decode
from tools.common.storage import Storage
from tools.fuzz.archives import Case
from tools.fuzz.processes import Outcome, full_disks, kills, read_only, two_at_once, write_model
from tools.fuzz.report import (
    REPORT,
    broken_promises,
    count_cases,
    count_operations,
    count_outcomes,
)
from tools.fuzz.surgery import Operation

_BATCH = 100

Record = TypeVar("Record", Case, Operation)


@click.command()
@options.parts(REPORT.sections)
@click.option("--archives", default=2000, show_default=True, help="Number of damaged archives.")
@click.option("--networks", default=2000, show_default=True, help="Number of random networks.")
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
    help="Seed of the first mutation, the first network, the kills and the disks.",
)
@options.output
def main(
    parts: tuple[str, ...],
    archives: int,
    networks: int,
    kill_count: int,
    disks: int,
    seed: int,
    output: Path | None,
) -> None:
    """Damage files and processes, which takes about half an hour on two cores, and convert random
    networks, which takes hours."""
    quiet()
    storage = Storage(options.results_folder(output, False, __file__), REPORT)
    if "archives" in parts:
        for cases in _in_batches("tools.fuzz.archives", Case, seed, archives, died=_died):
            storage.merge("archives", count_cases(cases))
    if "networks" in parts:
        for operations in _in_batches(
            "tools.fuzz.surgery", Operation, seed, networks, died=_surgery_died
        ):
            storage.merge("networks", count_operations(operations))
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


def _died(seed: int, reason: str) -> Case:
    return Case(seed=seed, mutation="", exit_code=-1, message="", broken=reason)


def _surgery_died(seed: int, reason: str) -> Operation:
    return Operation(seed=seed, blocks="", operation="", broken=reason)


def _in_batches(
    module: str, kind: type[Record], first: int, count: int, *, died: Callable[[int, str], Record]
) -> Iterator[list[Record]]:
    """Try seeds in processes of their own, each a batch, and yield all records after each batch."""
    records: list[Record] = []
    for start in range(first, first + count, _BATCH):
        size = min(_BATCH, first + count - start)
        batch = list(_batch(module, kind, start, size, died))
        broken = sum(bool(record.broken) for record in batch)
        click.echo(f"Seeds {start} to {start + size - 1}: {broken} broken promises", err=True)
        records += batch
        yield records


def _batch(
    module: str, kind: type[Record], first: int, count: int, died: Callable[[int, str], Record]
) -> Iterator[Record]:
    """Try seeds in a process of their own. A seed that ends the process broke a promise; another
    process tries those after it."""
    starting = None
    try:
        for line in json_lines(module, str(first), str(count)):
            if "starting" in line:
                starting = line["starting"]
            else:
                yield decode(line, (kind,))
    except WorkerFailed as failure:
        if starting is None:
            raise
        yield died(starting, f"the process ended: {failure.errors[-200:]}")
        if starting + 1 < first + count:
            yield from _batch(module, kind, starting + 1, first + count - starting - 1, died)


if __name__ == "__main__":
    main()
