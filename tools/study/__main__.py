"""`python -m tools.study`: fine-tune every task with every recipe; write RESULTS.md and
results.json."""

from __future__ import annotations

from pathlib import Path

import click

from tools.common import options
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.study import measure
from tools.study.measure import Result
from tools.study.report import REPORT
from tools.study.tasks import tasks


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Trainings of each network.")
@click.option(
    "--controls",
    default=5,
    show_default=True,
    help="Number of these trainings with further controls.",
)
@options.only
@options.output
def main(seeds: int, controls: int, only: str, output: Path | None) -> None:
    """Fine-tune all tasks with all recipes, about an hour and a half on two cores.

    Each result is stored as it comes, and what is stored is not measured again, so an interrupted
    run continues where it was.
    """
    quiet()
    storage = Storage(options.results_folder(output, False, __file__), REPORT)
    all_tasks = list(tasks())
    names = [task.name for task in all_tasks]
    for seed in range(seeds):
        for task in all_tasks:
            stored = {(result.task, result.seed): result for result in storage.results("study")}
            result = stored.get((task.name, seed))
            complete = result is not None and (result.controls or seed >= controls)
            if only not in task.name or complete:
                continue
            result = result or measure.measure(task, seed)
            if seed < controls:
                result = measure.with_controls(result, task)
            storage.merge(
                "study",
                [result],
                key=lambda item: (item.task, item.seed),
                order=lambda item: (names.index(item.task), item.seed),
            )
            click.echo(_line(result), err=True)
    click.echo(f"Wrote {storage.folder / 'RESULTS.md'}.")


def _line(result: Result) -> str:
    errors = ", ".join(f"{recipe} {error:.3g}" for recipe, error in result.errors.items())
    controls = ", ".join(f"{name} {error:.3g}" for name, error in result.controls.items())
    return (
        f"{result.task}, seed {result.seed}: {errors}; auto chose {result.chosen}; controls:"
        f" {controls or 'none'}"
    )


if __name__ == "__main__":
    main()
