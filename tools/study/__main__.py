"""`python -m tools.study`: fine-tune every task with every recipe, fine-tune at several rates, let
networks go on learning, let networks that others trained learn new data, and simulate the verdict;
write RESULTS.md and results.json."""

from __future__ import annotations

from pathlib import Path

import click

from tools.common import options
from tools.common.packages import Packages
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.study import measure
from tools.study.continual.figure import picture as errors_of_tasks
from tools.study.continual.measure import measure_setting
from tools.study.continual.settings import SETTINGS
from tools.study.intervals import simulations
from tools.study.measure import Result
from tools.study.rates import measure_rates, rate_tasks
from tools.study.report import REPORT
from tools.study.tasks import tasks
from tools.study.transfer.part import TRANSFER, measure_transfers


@click.command()
@options.parts(REPORT.sections)
@click.option("--seeds", default=5, show_default=True, help="Trainings of each network.")
@click.option(
    "--controls",
    default=5,
    show_default=True,
    help="Number of these trainings with further controls.",
)
@click.option(
    "--continual-seeds",
    default=10,
    show_default=True,
    help="Trainings of each network that goes on learning.",
)
@click.option(
    "--transfer-seeds",
    default=5,
    show_default=True,
    help="Fine-tunings of each network that others trained.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Measure nothing, and draw the errors of networks that go on learning into this file.",
)
@options.packages
@options.only
@options.trial
@options.output
def main(
    parts: tuple[str, ...],
    seeds: int,
    controls: int,
    continual_seeds: int,
    transfer_seeds: int,
    picture: Path | None,
    packages: Packages,
    only: str,
    trial: bool,
    output: Path | None,
) -> None:
    """Fine-tune all tasks with all recipes, about an hour and a half on two cores; fine-tune
    trained networks at several learning rates; let networks go on learning new tasks, hours; let
    networks that others trained learn new data, hours; simulate the errors of the verdict, ten
    minutes.

    Results of trainings are stored as they come, and what is stored is not measured again, so an
    interrupted run continues where it was.
    """
    quiet()
    storage = Storage(options.results_folder(output, trial, __file__), REPORT)
    if picture is not None:
        errors_of_tasks(storage.results("continual")).savefig(picture, dpi=120)
        return
    if "recipes" in parts:
        _recipes(storage, seeds, controls, only)
    if "rates" in parts:
        _rates(storage, 1 if trial else seeds, only)
    if "continual" in parts:
        _continual(storage, 1 if trial else continual_seeds, only)
    if TRANSFER in parts:
        measure_transfers(storage, 1 if trial else transfer_seeds, only, packages)
    if "verdict" in parts:
        storage.merge("verdict", simulations(20 if trial else 2000))
    click.echo(f"Wrote {storage.folder / 'RESULTS.md'}.")


def _recipes(storage: Storage, seeds: int, controls: int, only: str) -> None:
    all_tasks = list(tasks())
    names = [task.name for task in all_tasks]
    for seed in range(seeds):
        for task in all_tasks:
            stored = {(result.task, result.seed): result for result in storage.results("recipes")}
            result = stored.get((task.name, seed))
            complete = result is not None and (result.controls or seed >= controls)
            if only not in task.name or complete:
                continue
            result = result or measure.measure(task, seed)
            if seed < controls:
                result = measure.with_controls(result, task)
            storage.merge(
                "recipes",
                [result],
                key=lambda item: (item.task, item.seed),
                order=lambda item: (names.index(item.task), item.seed),
            )
            click.echo(_line(result), err=True)


def _rates(storage: Storage, seeds: int, only: str) -> None:
    for seed in range(seeds):
        for task in rate_tasks():
            stored = {(result.task, result.seed) for result in storage.results("rates")}
            if only not in task.name or (task.name, seed) in stored:
                continue
            storage.merge(
                "rates",
                measure_rates(task, seed),
                key=lambda item: (item.task, item.seed, item.rate),
                order=lambda item: (item.task, item.seed, item.rate),
            )
            click.echo(f"{task.name}, seed {seed}", err=True)


def _continual(storage: Storage, seeds: int, only: str) -> None:
    names = [setting.name for setting in SETTINGS]
    for seed in range(seeds):
        for setting in SETTINGS:
            if only not in setting.name:
                continue
            stored = {
                (result.learned, result.method)
                for result in storage.results("continual")
                if (result.setting, result.seed) == (setting.name, seed)
            }
            for result in measure_setting(
                setting, seed, is_measured=lambda *key, stored=stored: key in stored
            ):
                storage.merge(
                    "continual",
                    [result],
                    key=lambda item: (item.setting, item.learned, item.seed, item.method),
                    order=lambda item: (names.index(item.setting), item.learned, item.seed),
                )
            click.echo(f"{setting.name}, seed {seed}", err=True)


def _line(result: Result) -> str:
    errors = ", ".join(f"{recipe} {error:.3g}" for recipe, error in result.errors.items())
    controls = ", ".join(f"{name} {error:.3g}" for name, error in result.controls.items())
    return (
        f"{result.task}, seed {result.seed}: {errors}; auto chose {result.chosen}; controls:"
        f" {controls or 'none'}"
    )


if __name__ == "__main__":
    main()
