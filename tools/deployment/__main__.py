"""`python -m tools.deployment`: export networks to all formats, run and time them, quantize; write
RESULTS.md and results.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from tools.common import options
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.common.tasks import Task
from tools.deployment import executed, matrix
from tools.deployment.executed import ExecutedGraph
from tools.deployment.int8 import int8_forms
from tools.deployment.matrix import ExportedNetwork
from tools.deployment.per_tensor import per_tensor
from tools.deployment.report import REPORT
from tools.fidelity.tasks import tasks

INT8 = ("digits conv", "pre-activation residual")
PER_TENSOR = ("digits conv", "digits MLP")
SEEDS = 3


@click.command()
@options.parts(REPORT.sections)
@options.only
@click.option("--again", is_flag=True, help="Also export what is stored already.")
@options.trial
@options.output
def main(parts: tuple[str, ...], only: str, again: bool, trial: bool, output: Path | None) -> None:
    """Measure what exported networks compute and cost.

    Results are stored as they come. Networks and formats that are stored are not exported again:
    all take two hours on two cores. Nothing else should run meanwhile.
    """
    quiet()
    storage = Storage(options.results_folder(output, trial, __file__), REPORT)
    seeds = 1 if trial else SEEDS
    if "matrix" in parts:
        _matrix(storage, only, again)
    if "executed" in parts:
        _executed(storage, only, again)
    if "int8" in parts:
        _quantized(storage, "int8", int8_forms, _tasks(INT8, only), seeds)
    if "per-tensor" in parts:
        _quantized(
            storage,
            "per-tensor",
            lambda task, seed: iter([per_tensor(task, seed)]),
            _tasks(PER_TENSOR, only),
            seeds,
        )
    click.echo(f"Wrote {storage.folder / 'RESULTS.md'}.")


def _matrix(storage: Storage, only: str, again: bool) -> None:
    """Export every network to every format, except what is stored."""
    stored = {(result.network, result.form) for result in storage.results("matrix")}

    def place(result: ExportedNetwork) -> tuple[int, int]:
        networks, forms = matrix.NETWORKS, list(matrix.FORMS)
        return networks.index(result.network), forms.index(result.form)

    for network in matrix.NETWORKS:
        for form in matrix.FORMS:
            if only in network and (again or (network, form) not in stored):
                click.echo(f"{network}, {form}", err=True)
                storage.merge(
                    "matrix",
                    [matrix.export_in_a_process(network, form)],
                    key=lambda result: (result.network, result.form),
                    order=place,
                )


def _executed(storage: Storage, only: str, again: bool) -> None:
    """List what runtimes execute of some networks, except what is stored."""
    stored = {(result.network, result.form) for result in storage.results("executed")}

    def place(result: ExecutedGraph) -> tuple[int, int]:
        return (
            executed.NETWORKS.index(result.network),
            executed.EXECUTED_FORMS.index(result.form),
        )

    for network in executed.NETWORKS:
        for form in executed.EXECUTED_FORMS:
            if only in network and (again or (network, form) not in stored):
                click.echo(f"{network}, {form}, executed", err=True)
                storage.merge(
                    "executed",
                    [executed.executed_in_a_process(network, form)],
                    key=lambda result: (result.network, result.form),
                    order=place,
                )


def _quantized(
    storage: Storage,
    part: str,
    quantize: Callable[[Task, int], Iterator[object]],
    tasks: list[Task],
    seeds: int,
) -> None:
    """Train and quantize each network with each seed."""
    for task in tasks:
        click.echo(f"{part}: {task.name}", err=True)
        results = [result for seed in range(seeds) for result in quantize(task, seed)]
        storage.merge(
            part, results, key=lambda result: result.task, order=lambda result: result.task
        )


def _tasks(names: tuple[str, ...], only: str) -> list[Task]:
    return [task for task in tasks() if task.name in names and only in task.name]


if __name__ == "__main__":
    main()
