"""Measures one part on the active backend, in a process of its own:
`KERAS_BACKEND=jax python -m tools.bench.worker activation`. Prints a JSON line for each result."""

from __future__ import annotations

import importlib

import click

from tools.common.machine import machine
from tools.common.processes import emit, quiet

MEASURES = {
    "activation": "timing:activation_alone",
    "memory": "peak_memory:memory",
    "network": "timing:networks",
    "growth": "timing:growth",
    "scale": "scale:scale",
    "diagnostics": "diagnostics:diagnostics",
    "plasticity": "plasticity:plasticity",
}
"""For each part the module and its function, imported only once its part is measured."""


@click.command()
@click.argument("part", type=click.Choice(list(MEASURES)))
@click.option("--trial", is_flag=True)
def main(part: str, trial: bool) -> None:
    """Measure PART and print the machine and each result."""
    quiet()
    emit(machine())
    module, _, function = MEASURES[part].partition(":")
    measure = getattr(importlib.import_module(f"tools.bench.{module}"), function)
    for result in measure(trial):
        emit(result)


if __name__ == "__main__":
    main()
