"""`python -m tools.fuzz`: every disturbance, and what became of the promise, written down."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from tools.fuzz.archives import Case
from tools.fuzz.processes import Outcome, full_disks, kills, read_only, two_at_once, write_model

_BATCH = 100


@click.command()
@click.option("--archives", default=2000, show_default=True, help="Mutated archives.")
@click.option("--kill", "kill_count", default=50, show_default=True, help="Conversions killed.")
@click.option(
    "--disks",
    default=10,
    show_default=True,
    help="Full disks; needs the right to mount a file system.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Of the first mutation, the kills and the disks."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(archives: int, kill_count: int, disks: int, seed: int, output: Path) -> None:
    """Damage files and processes, and write RESULTS.md. About half an hour on two cores."""
    cases = [
        case
        for first in range(seed, seed + archives, _BATCH)
        for case in _batch(first, min(_BATCH, seed + archives - first))
    ]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.keras"
        write_model(model)
        for outcome in _disturbances(model, kill_count, disks, seed):
            outcomes.append(outcome)
            click.echo(f"{outcome.disturbance}: {outcome.broken or 'kept'}")
    output.mkdir(parents=True, exist_ok=True)
    (output / "RESULTS.md").write_text(_markdown(cases, outcomes, seed))
    broken = [case for case in cases if case.broken]
    (output / "broken.json").write_text(
        json.dumps([dataclasses.asdict(case) for case in broken], indent=1) + "\n"
    )
    if broken or any(outcome.broken for outcome in outcomes):
        raise click.ClickException("A promise was broken; see RESULTS.md.")


def _disturbances(model: Path, kill_count: int, disks: int, seed: int) -> Iterator[Outcome]:
    yield from kills(model, kill_count, seed)
    if disks:
        yield from full_disks(model, disks, seed)
        yield read_only(model)
    yield two_at_once(model)


def _batch(first: int, count: int) -> Iterator[Case]:
    """A process of its own: what crashes it is a finding, and the rest is tried by another."""
    result = subprocess.run(
        [sys.executable, "-m", "tools.fuzz.archives", str(first), str(count)],
        capture_output=True,
        text=True,
    )
    records = [json.loads(line) for line in result.stdout.splitlines()]
    cases = [Case(**record) for record in records if "mutation" in record]
    click.echo(
        f"Archives {first} to {first + count - 1}: {sum(bool(case.broken) for case in cases)}"
        " broken promises"
    )
    yield from cases
    if result.returncode and records and "starting" in records[-1]:
        seed = records[-1]["starting"]
        yield Case(seed, "", result.returncode, "", f"the process ended: {result.stderr[-200:]}")
        if seed + 1 < first + count:
            yield from _batch(seed + 1, first + count - seed - 1)


def _markdown(cases: list[Case], outcomes: list[Outcome], seed: int) -> str:
    lines = [
        "# What `keras-prelu convert` survives",
        "",
        (
            f"Written by `python -m tools.fuzz --seed {seed}`. Kept means: success with a file that"
            " loads, or one line on standard error, no"
        ),
        (
            "output and no temporary file; and the input is what it was. After a kill the same"
            " command, repeated, works and tidies up."
        ),
        "",
        (
            "| mutated archive | tried | converted all the same | refused in one line | broken"
            " promises |"
        ),
        "|---|---:|---:|---:|---:|",
    ]
    for mutation in sorted({case.mutation for case in cases}):
        of_kind = [case for case in cases if case.mutation == mutation]
        broken = sum(bool(case.broken) for case in of_kind)
        converted = sum(case.exit_code == 0 for case in of_kind)
        name = mutation.replace("_", " ") or "(ended the process)"
        lines.append(
            f"| {name} | {len(of_kind)} | {converted} | {len(of_kind) - converted - broken} |"
            f" {broken} |"
        )
    lines.append(
        f"| **all** | **{len(cases)}** | **{sum(case.exit_code == 0 for case in cases)}** |"
        f" **{sum(case.exit_code > 0 and not case.broken for case in cases)}** |"
        f" **{sum(bool(case.broken) for case in cases)}** |"
    )
    lines += ["", "| disturbance | tried | broken promises |", "|---|---:|---:|"]
    for disturbance, tried in sorted(Counter(outcome.disturbance for outcome in outcomes).items()):
        broken = sum(
            bool(outcome.broken) for outcome in outcomes if outcome.disturbance == disturbance
        )
        lines.append(f"| {disturbance} | {tried} | {broken} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
