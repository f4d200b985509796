"""`python -m tools.deployment`: export all networks to all formats, and write RESULTS.md and
results.json."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tools.deployment.matrix import Row
    from tools.deployment.report import Results

PARTS = ("int8", "matrix")
QUANTIZED = ("digits conv", "pre-activation residual")


@click.command()
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    default=PARTS,
    help="What to measure; all by default.",
)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each network, for int8.")
@click.option("--only", default="", metavar="TEXT", help="Networks whose name contains this.")
@click.option("--again", is_flag=True, help="Also what is stored already.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(parts: tuple[str, ...], seeds: int, only: str, again: bool, output: Path) -> None:
    """Measure what exported networks compute and cost (two hours on two cores); nothing else should
    run meanwhile.

    Results are stored as they come, and networks that are stored already are kept.
    """
    warnings.simplefilter("ignore")
    from tools.deployment.report import Results

    results = Results.load(output)
    if "int8" in parts:
        results = _int8(results, seeds, only)
        results.save(output)
    if "matrix" in parts:
        _matrix(results, only, again, output)
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


def _int8(results: Results, seeds: int, only: str) -> Results:
    from tools.calibration.tasks import tasks
    from tools.deployment.ranges import int8_forms

    chosen = [task for task in tasks() if task.name in QUANTIZED and only in task.name]
    found = tuple(
        form for task in chosen for seed in range(seeds) for form in int8_forms(task, seed)
    )
    return replace(results, int8=found or results.int8)


def _matrix(results: Results, only: str, again: bool, output: Path) -> None:
    """Every network and format that isn't stored yet, stored as soon as it is measured."""
    from tools.deployment.matrix import FORMS, NETWORKS, row_of_a_process

    def place(row: Row) -> tuple[int, int]:
        return NETWORKS.index(row.network), list(FORMS).index(row.form)

    rows = {(row.network, row.form): row for row in results.matrix}
    for name in NETWORKS:
        for form in FORMS:
            if only in name and (again or (name, form) not in rows):
                click.echo(f"{name}, {form}", err=True)
                rows[name, form] = row_of_a_process(name, form)
                results = replace(results, matrix=tuple(sorted(rows.values(), key=place)))
                results.save(output)


if __name__ == "__main__":
    main()
