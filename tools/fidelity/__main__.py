"""`python -m tools.calibration`: train, convert, calibrate, and write RESULTS.md and
results.json."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tools.calibration.measure import Memory
    from tools.calibration.report import Results

PARTS = ("kept", "applications", "cost", "memory")
QUANTIZED = ("digits conv", "digits MLP")


@click.command()
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    default=PARTS,
    help="What to measure; all by default.",
)
@click.option("--seeds", default=3, show_default=True, help="Trainings of each network.")
@click.option("--only", default="", metavar="TEXT", help="Networks whose name contains this.")
@click.option(
    "--depth",
    "depths",
    multiple=True,
    type=int,
    default=(10, 20, 40, 50, 80),
    show_default=True,
    help="Convolutions, for the cost.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(
    parts: tuple[str, ...], seeds: int, only: str, depths: tuple[int, ...], output: Path
) -> None:
    """Measure what calibration keeps of a network's function; nothing else should run meanwhile.

    Results are stored as they come. Parts that aren't measured are kept as they are stored, and so
    are networks of keras.applications that are stored already (two hours on two cores for all;
    twenty minutes for the rest).
    """
    warnings.simplefilter("ignore")
    from tools.calibration.report import Results

    results = Results.load(output)
    if "cost" in parts:
        from tools.calibration.measure import cost

        results = replace(results, cost=tuple(cost(layers) for layers in depths))
        results.save(output)
    if "memory" in parts:
        results = replace(results, memory=_memory())
        results.save(output)
    if "kept" in parts:
        results = _kept(results, seeds, only)
        results.save(output)
    if "applications" in parts:
        _applications(results, only, output)
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


def _kept(results: Results, seeds: int, only: str) -> Results:
    """Every task of small size, with the int8 files of some."""
    from tools.calibration.measure import kept
    from tools.calibration.quantization import quantized
    from tools.calibration.report import CURVE
    from tools.calibration.tasks import tasks, trained

    found, rounded = [], []
    for task in tasks():
        if only not in task.name:
            continue
        counts = CURVE if task.name.startswith("digits conv") else ()
        for seed in range(seeds):
            model = trained(task, seed)
            found += list(kept(task, seed, model, counts))
            if task.name in QUANTIZED:
                rounded.append(quantized(task, seed, model))
            click.echo(f"{task.name}, seed {seed}: error {found[-1].error:.2g}", err=True)
    return replace(results, kept=tuple(found), quantized=tuple(rounded))


def _applications(results: Results, only: str, output: Path) -> None:
    """Every network of keras.applications that isn't stored yet, stored as soon as it is
    measured."""
    import keras

    from tools.calibration.applications import NAMES, applications

    for name in NAMES:
        if only not in name or name in {item.name for item in results.applications}:
            continue
        found = tuple(applications(name))
        click.echo(
            "\n".join(f"{name}, {item.rescale}: error {item.error:.2g}" for item in found), err=True
        )
        keras.backend.clear_session()  # else what one network left grows with the next
        results = replace(
            results,
            applications=tuple(
                sorted((*results.applications, *found), key=lambda item: NAMES.index(item.name))
            ),
        )
        results.save(output)


MEMORY = (("predict", 2000), ("calibrate", 2000), ("calibrate", 20000), ("spilled", 20000))


def _memory() -> tuple[Memory, ...]:
    """Each in a process of its own."""
    from tools.calibration.measure import Memory

    found = []
    for what, samples in MEMORY:
        command = [sys.executable, "-m", "tools.calibration.memory", what, str(samples)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise click.ClickException(f"Measuring memory failed:\n{result.stderr}")
        found.append(Memory(what, samples, **json.loads(result.stdout)))
    return tuple(found)


if __name__ == "__main__":
    main()
