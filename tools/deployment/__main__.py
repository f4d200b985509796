"""`python -m tools.deployment`: export networks to all formats, run and time them, quantize; write
RESULTS.md and results.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import click
import keras

from tools.common import options
from tools.common.packages import Packages, PackageUnavailable
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.common.tasks import Task
from tools.deployment import executed, matrix, profile_metric
from tools.deployment.int8 import int8_forms
from tools.deployment.per_tensor import per_tensor
from tools.deployment.profile_metric import TunedForm, tuned_forms
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
@options.packages
@options.output
def main(
    parts: tuple[str, ...],
    only: str,
    again: bool,
    trial: bool,
    packages: Packages,
    output: Path | None,
) -> None:
    """Measure what exported networks compute and cost.

    Results are stored as they come. Networks and formats that are stored are not exported again:
    all take two hours on two cores, and "profile", which fetches packages and fine-tunes networks,
    hours more. Nothing else should run meanwhile.
    """
    quiet()
    storage = Storage(options.results_folder(output, trial, __file__), REPORT)
    seeds = 1 if trial else SEEDS
    if "matrix" in parts:
        _measure_forms(
            storage,
            "matrix",
            matrix.NETWORKS,
            list(matrix.FORMS),
            matrix.export_in_a_process,
            only=only,
            again=again,
        )
    if "executed" in parts:
        _measure_forms(
            storage,
            "executed",
            executed.NETWORKS,
            executed.EXECUTED_FORMS,
            executed.executed_in_a_process,
            only=only,
            again=again,
            note=", executed",
        )
    if "profile" in parts:
        _profile(storage, packages, only, again, trial)
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


def _measure_forms(
    storage: Storage,
    part: str,
    networks: Sequence[str],
    forms: Sequence[str],
    measure: Callable[[str, str], object],
    *,
    only: str,
    again: bool,
    note: str = "",
) -> None:
    """Measure every network in every form, except what is stored."""
    stored = {(result.network, result.form) for result in storage.results(part)}
    for network, form in product(networks, forms):
        if only in network and (again or (network, form) not in stored):
            click.echo(f"{network}, {form}{note}", err=True)
            storage.merge(
                part,
                [measure(network, form)],
                key=lambda result: (result.network, result.form),
                order=lambda result: (networks.index(result.network), forms.index(result.form)),
            )


def _profile(storage: Storage, packages: Packages, only: str, again: bool, trial: bool) -> None:
    """Fine-tune real networks with the profile and without, except what is stored."""
    networks = profile_metric.TRIAL_NETWORKS if trial else profile_metric.NETWORKS
    effort = profile_metric.TRIAL if trial else profile_metric.EFFORT
    names = [profiled.network.name for profiled in networks]
    forms = [("", profile_metric.CONTROL)]
    forms += [(form.start, form.slopes) for form in profile_metric.FORMS]

    def place(result: TunedForm) -> tuple[int, int, int]:
        return (names.index(result.network), forms.index(_form(result)), result.seed)

    for profiled in networks:
        name = profiled.network.name
        if only not in name:
            continue
        try:
            packages.fetch(profiled.network.packages)
        except PackageUnavailable as error:
            click.echo(f"Skipped {name}: {error.message}", err=True)
            continue
        known = () if again else storage.results("profile")
        stored = {(*_form(result), result.seed) for result in known if result.network == name}
        for results in tuned_forms(profiled, packages, effort, stored):
            storage.merge(
                "profile",
                results,
                key=lambda result: (result.network, *_form(result), result.seed),
                order=place,
            )
            for result in results:
                form = " ".join(filter(None, (result.slopes, result.start)))
                click.echo(f"{name}, seed {result.seed}, {form}: {result.after:.2f}", err=True)
            keras.backend.clear_session()


def _form(result: TunedForm) -> tuple[str, str]:
    return (result.start, result.slopes)


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
