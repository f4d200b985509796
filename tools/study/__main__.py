"""`python -m tools.study`: results go to results.json one by one, so that a run that was stopped
goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Trainings of each network.")
@click.option(
    "--controls",
    default=5,
    show_default=True,
    help="Of these trainings, how many get further controls.",
)
@click.option("--only", default="", metavar="TEXT", help="Tasks whose name contains this.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(seeds: int, controls: int, only: str, output: Path) -> None:
    """Fine-tune all tasks with all recipes. About an hour and a half on two cores; measured results
    are kept and not measured again."""
    warnings.simplefilter("ignore")
    from tools.study.measure import Result, measure, with_controls
    from tools.study.report import markdown
    from tools.study.tasks import tasks

    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.json"
    stored = [Result(**record) for record in json.loads(path.read_text())] if path.exists() else []
    results = {(result.task, result.seed): result for result in stored}
    order = [task.name for task in tasks()]
    for seed in range(seeds):
        for task in tasks():
            found = results.get((task.name, seed))
            if only not in task.name or (
                found is not None and (found.controls or seed >= controls)
            ):
                continue
            found = found or measure(task, seed)
            results[task.name, seed] = with_controls(found, task) if seed < controls else found
            kept = sorted(
                results.values(), key=lambda result: (order.index(result.task), result.seed)
            )
            path.write_text(
                json.dumps([dataclasses.asdict(result) for result in kept], indent=1) + "\n"
            )
            click.echo(_line(results[task.name, seed]), err=True)
    kept = sorted(results.values(), key=lambda result: (order.index(result.task), result.seed))
    (output / "RESULTS.md").write_text(markdown(kept))
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


def _line(result: Any) -> str:
    errors = ", ".join(f"{recipe} {error:.3g}" for recipe, error in result.errors.items())
    controls = ", ".join(f"{name} {error:.3g}" for name, error in result.controls.items())
    return (
        f"{result.task}, seed {result.seed}: {errors}; auto chose {result.chosen}; controls:"
        f" {controls or 'none'}"
    )


if __name__ == "__main__":
    main()
