"""Measures one network in a process of its own, whose memory is freed with it:
`python -m tools.fidelity.real.worker "CREPE tiny" convert 0.25`. Prints a JSON line for each
result."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tools.common import options
from tools.common.packages import Packages
from tools.common.processes import emit, json_lines, quiet
from tools.common.records import decode
from tools.fidelity.real.measure import Kept, RealModel, kept, real_model
from tools.fidelity.real.networks import NETWORKS
from tools.fidelity.real.settings import SETTINGS
from tools.fidelity.real.tuning import Tuned, tuned

__all__ = ["KINDS", "measured"]

KINDS = (RealModel, Kept, Tuned)


def measured(
    network: str, work: str, packages: Packages, *names: str, **numbers: int | tuple[int, ...]
) -> Iterator[RealModel | Kept | Tuned]:
    """Do the work in a process of its own, and yield its results as they come.

    Args:
        network: Name.
        work: "model", "convert" or "tune".
        packages: Where the network and its data are.
        *names: Settings or recipes.
        **numbers: Options of the worker; a tuple repeats one.

    Raises:
        WorkerFailed: At the end, if the worker failed.
    """
    arguments = ["--packages", str(packages.root)]
    for name, values in numbers.items():
        for value in values if isinstance(values, tuple) else (values,):
            arguments += [f"--{name}", str(value)]
    for line in json_lines("tools.fidelity.real.worker", network, work, *names, *arguments):
        yield decode(line, KINDS)


@click.command()
@click.argument("network", type=click.Choice([network.name for network in NETWORKS]))
@click.argument("work", type=click.Choice(["model", "convert", "tune"]))
@click.argument("names", nargs=-1)
@click.option("--samples", "counts", type=int, multiple=True)
@click.option("--test", type=int, default=2048)
@click.option("--seeds", type=int, default=1)
@click.option("--epochs", type=int, default=1)
@options.packages
def main(
    network: str,
    work: str,
    names: tuple[str, ...],
    counts: tuple[int, ...],
    test: int,
    seeds: int,
    epochs: int,
    packages: Packages,
) -> None:
    """Measure NETWORK: the "model" as it came, what is left of it where it is "convert"ed with each
    setting of NAMES, or "tune"d with each recipe of NAMES."""
    quiet()
    (real,) = (each for each in NETWORKS if each.name == network)
    results: Iterator[object]
    if work == "model":
        results = iter([real_model(real, packages, test)])
    elif work == "convert":
        settings = (setting for setting in SETTINGS if setting.name in names)
        results = (
            result
            for setting in settings
            for result in kept(real, setting, packages, counts=counts, seeds=seeds, test=test)
        )
    else:
        (samples,) = counts
        results = tuned(
            real, packages, recipes=names, samples=samples, test=test, epochs=epochs, seeds=seeds
        )
    for result in results:
        emit(result)


if __name__ == "__main__":
    main()
