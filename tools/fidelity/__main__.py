"""`python -m tools.fidelity`: convert, train, calibrate and compare; write RESULTS.md and
results.json."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import click
import keras

from tools.common import options
from tools.common.machine import Machine, backend, machine
from tools.common.packages import Packages
from tools.common.processes import quiet
from tools.common.storage import Storage
from tools.common.tasks import trained
from tools.fidelity.applications import applications
from tools.fidelity.calibration import calibrations
from tools.fidelity.code import convert_networks
from tools.fidelity.conversion import attempt
from tools.fidelity.cost import calibration_time
from tools.fidelity.effort import CURVE, TRIAL, Effort
from tools.fidelity.hub import hub
from tools.fidelity.memory import calibration_memory
from tools.fidelity.photographs import photograph_calibrations
from tools.fidelity.real.part import REAL, changed_by_default, measure_real
from tools.fidelity.report import REPORT
from tools.fidelity.smooth import smooth_conversion, smooth_tasks
from tools.fidelity.smooth_cost import smooth_costs
from tools.fidelity.tasks import tasks
from tools.fidelity.verification import verification_time

_COLLECTIONS = {"applications": "keras.applications", "hub": "KerasHub"}


@click.command()
@options.parts(REPORT.sections)
@options.only
@options.trial
@options.packages
@options.output
def main(
    parts: tuple[str, ...], only: str, trial: bool, packages: Packages, output: Path | None
) -> None:
    """Measure which models convert and what a conversion preserves of a network's function.

    Results are stored as they come. Networks that were measured on photographs are not measured
    again: all take two hours on two cores, and the other parts an hour, except "real": it fetches
    0.3 GB of packages, and takes hours. Nothing else should run meanwhile.
    """
    quiet()
    effort = TRIAL if trial else Effort()
    effort = replace(effort, only=only)
    storage = Storage(options.results_folder(output, trial, __file__), REPORT)
    for part in parts:
        if part == REAL:
            measure_real(storage, effort, packages)
        else:
            _PARTS[part](storage, effort)
    click.echo(f"Wrote {storage.folder / 'RESULTS.md'}.")
    failed = [
        result.model
        for part in _COLLECTIONS
        for result in storage.results(part)
        if part in parts and not result.passed
    ]
    if "code" in parts:
        failed += [
            f"{result.network} ({result.function})"
            for result in storage.results("code")
            if not result.passed
        ]
    if REAL in parts:
        failed += changed_by_default(storage)
    if failed:
        raise click.ClickException(f"Not exact, or failed: {', '.join(failed)}.")


def _applications(storage: Storage, effort: Effort) -> None:
    _conversions(storage, "applications", dict(applications()), effort)


def _hub(storage: Storage, effort: Effort) -> None:
    _conversions(storage, "hub", dict(hub()), effort)


def _conversions(
    storage: Storage, part: str, networks: dict[str, Callable[[], object]], effort: Effort
) -> None:
    names = list(networks)
    machines = {backend(): machine(*(["keras-hub"] if part == "hub" else []))}
    for name in _chosen(names, effort):
        result = attempt(_COLLECTIONS[part], name, networks[name])
        _store(storage, part, [result], "model", names, machines)
        click.echo(
            f"{name}: {result.converted} of {result.sites} sites,"
            f" {result.failure or result.passed}",
            err=True,
        )
        keras.utils.clear_session()
        gc.collect()


def _store(
    storage: Storage,
    part: str,
    results: Iterable[Any],
    field: str,
    names: Sequence[str],
    machines: Mapping[str, Machine] | None = None,
) -> None:
    """Store the results of a network, whose name is in a field of theirs, in the order of all."""
    name_of = attrgetter(field)
    storage.merge(
        part,
        results,
        key=name_of,
        order=lambda result: names.index(name_of(result)),
        machines=machines,
    )


def _code(storage: Storage, effort: Effort) -> None:
    """Convert networks whose code calls functions, on the present backend; others stay stored."""
    for result in convert_networks(effort.only):
        storage.merge(
            "code",
            [result],
            key=lambda item: (item.backend, item.function, item.network),
            order=lambda item: (item.backend, item.function),
            machines={backend(): machine()},
        )
        click.echo(
            f"{result.network}, {result.function}: {result.converted} of {result.calls},"
            f" {'passed' if result.passed else 'FAILED'}, error {result.error:.2g}",
            err=True,
        )


def _calibration(storage: Storage, effort: Effort) -> None:
    """Train every small network with every seed."""
    by_name = {task.name: task for task in tasks() if effort.tasks in task.name}
    names = [task.name for task in tasks()]
    for name in _chosen(by_name, effort):
        counts = CURVE if name.startswith("digits conv") else ()
        results = []
        for seed in range(effort.seeds):
            model = trained(by_name[name], seed)
            results += calibrations(by_name[name], seed, model, counts)
            click.echo(f"{name}, seed {seed}: error {results[-1].error:.2g}", err=True)
        _store(storage, "calibration", results, "task", names)


def _photographs(storage: Storage, effort: Effort) -> None:
    """Measure every network that is not stored yet."""
    names = effort.photographs.networks
    stored = {result.name for result in storage.results("photographs")}
    for name in _chosen(names, effort):
        if name in stored:
            continue
        results = tuple(photograph_calibrations(name, effort.photographs))
        for result in results:
            click.echo(f"{name}, {result.rescale}: error {result.error:.2g}", err=True)
        keras.backend.clear_session()  # otherwise memory grows from network to network
        _store(storage, "photographs", results, "name", names)


def _smooth(storage: Storage, effort: Effort) -> None:
    by_name = {task.name: task for task in smooth_tasks() if effort.smooth in task.name}
    names = [task.name for task in smooth_tasks()]
    for name in _chosen(by_name, effort):
        result = smooth_conversion(by_name[name])
        click.echo(f"{name}: error {result.error:.2g}", err=True)
        keras.backend.clear_session()
        _store(storage, "smooth", [result], "network", names)


def _smooth_cost(storage: Storage, effort: Effort) -> None:
    sizes = dict(effort.smooth_costs)
    for name in _chosen(sizes, effort):
        results = tuple(smooth_costs(name, sizes[name]))
        for result in results:
            click.echo(
                f"{name}, {result.slopes}, {result.runtime}: {result.ratio:.2f} times", err=True
            )
        keras.backend.clear_session()
        _store(storage, "smooth-cost", results, "network", list(sizes))


def _cost(storage: Storage, effort: Effort) -> None:
    storage.merge("cost", map(calibration_time, effort.depths))


def _verification(storage: Storage, effort: Effort) -> None:
    storage.merge("verification", [verification_time()])


def _memory(storage: Storage, effort: Effort) -> None:
    storage.merge("memory", calibration_memory(effort))


def _chosen(names: Iterable[str], effort: Effort) -> list[str]:
    return [name for name in names if effort.only in name]


_PARTS: dict[str, Callable[[Storage, Effort], None]] = {
    "applications": _applications,
    "hub": _hub,
    "code": _code,
    "calibration": _calibration,
    "photographs": _photographs,
    "smooth": _smooth,
    "smooth-cost": _smooth_cost,
    "cost": _cost,
    "verification": _verification,
    "memory": _memory,
}


if __name__ == "__main__":
    main()
