"""The part `real`: every network as it came, converted in every way, and fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from tools.common.packages import Packages, unavailable
from tools.common.processes import WorkerFailed
from tools.common.storage import Storage
from tools.fidelity.effort import Effort, Real
from tools.fidelity.real.measure import Kept, RealModel
from tools.fidelity.real.networks import NETWORKS, RealNetwork
from tools.fidelity.real.settings import DEFAULT, EXPORTED, SETTINGS
from tools.fidelity.real.tuning import Tuned
from tools.fidelity.real.worker import measured

__all__ = ["REAL", "changed_by_default", "measure_real"]

REAL = "real"
_TEST_OF_COSTLY = 256
_KEYS = {
    RealModel.__name__: ("network",),
    Kept.__name__: ("network", "setting", "samples", "seed"),
    Tuned.__name__: ("network", "recipe", "seed"),
}
"""What identifies a result, by its kind."""


@dataclass(frozen=True)
class _Step:
    """What one process measures of a network.

    Attributes:
        network: The network.
        work: "model", "convert" or "tune".
        name: Name of the setting or the recipe; "" for the model.
    """

    network: RealNetwork
    work: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.network.name}, {self.name or self.work}"


def measure_real(storage: Storage, effort: Effort, packages: Packages) -> None:
    """Measure each network; results are stored as they come.

    Raises:
        PackageUnavailable: Nothing can be fetched.
    """
    steps = [step for step in _steps(effort.real) if effort.only in str(step)]
    missing = unavailable((step.network for step in steps), packages)
    for step in steps:
        if step.network.name not in missing:
            for result in _results(step, effort.real, packages):
                storage.merge(REAL, [result], key=_key, order=_order)
                click.echo(_line(result), err=True)
    if steps and len(missing) == len({step.network.name for step in steps}):
        raise next(iter(missing.values()))


def changed_by_default(storage: Storage) -> list[str]:
    """Return the names of networks whose outputs a conversion without options changes."""
    return [
        result.network
        for result in storage.results(REAL)
        if isinstance(result, Kept) and result.setting == DEFAULT.name and result.difference != 0
    ]


def _steps(effort: Real) -> Iterator[_Step]:
    for network in NETWORKS:
        if network.name in effort.networks:
            yield _Step(network, "model")
            for setting in effort.settings:
                yield _Step(network, "convert", setting)
            for recipe in effort.recipes if network.loss is not None else ():
                yield _Step(network, "tune", recipe)


def _results(step: _Step, effort: Real, packages: Packages) -> Iterator[Any]:
    """Measure in a process of its own; one that runs out of memory is a result as well."""
    name, numbers = step.network.name, _numbers(step, effort)
    try:
        yield from measured(name, step.work, packages, *filter(None, [step.name]), **numbers)
    except WorkerFailed as failure:
        if failure.returncode >= 0 or step.work != "convert":
            raise
        yield Kept(
            network=name,
            setting=step.name,
            samples=effort.samples,
            seed=0,
            failure=f"ended by signal {-failure.returncode}",
        )


def _numbers(step: _Step, effort: Real) -> dict[str, Any]:
    """Return the options of the worker."""
    is_costly = step.network.is_costly
    test = min(effort.test, _TEST_OF_COSTLY) if is_costly else effort.test
    if step.work == "model":
        return {"test": test}
    seeds = 1 if is_costly or step.name == DEFAULT.name else effort.seeds
    if step.work == "tune":
        tuning = {"samples": effort.tuned_on, "epochs": effort.epochs}
        return {"test": test, "seeds": seeds, **tuning}
    has_curve = step.name == EXPORTED and not is_costly
    counts = (effort.samples, *(effort.counts if has_curve else ()))
    return {"test": test, "seeds": seeds, "samples": counts}


def _key(result: Any) -> tuple[Any, ...]:
    name = type(result).__name__
    return (name, *(getattr(result, field) for field in _KEYS[name]))


def _order(result: Any) -> tuple[int, ...]:
    names = [network.name for network in NETWORKS]
    order = (list(_KEYS).index(type(result).__name__), names.index(result.network))
    if not isinstance(result, Kept):
        return order
    settings = [setting.name for setting in SETTINGS]
    return (*order, settings.index(result.setting), result.samples, result.seed)


def _line(result: Any) -> str:
    if isinstance(result, Kept):
        found = result.failure or f"error {result.error:.2g}, {result.seconds:.0f} CPU seconds"
        return f"{result.network}, {result.setting}, {result.samples} samples: {found}"
    if isinstance(result, Tuned):
        return f"{result.network}, {result.recipe}: {result.verdict}"
    return f"{result.network}: {result.metric} {result.value}"
