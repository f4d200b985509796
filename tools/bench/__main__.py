"""`python -m tools.bench`: measure every installed backend; write RESULTS.md and results.json."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from tools.bench.records import Measurement
from tools.bench.report import KINDS, REPORT
from tools.common import options
from tools.common.machine import BACKENDS, Machine
from tools.common.processes import json_lines
from tools.common.records import decode
from tools.common.storage import Storage


@click.command()
@options.backends
@options.parts(REPORT.sections)
@options.trial
@options.output
def main(
    backends: tuple[str, ...], parts: tuple[str, ...], trial: bool, output: Path | None
) -> None:
    """Measure what PReLU costs against ReLU, and what conversion and diagnostics cost.

    Takes about an hour on two cores. Nothing else should run meanwhile.
    """
    installed = [name for name in backends or BACKENDS if importlib.util.find_spec(name)]
    if not installed:
        raise click.ClickException(
            f"No backend is installed. Searched for: {', '.join(backends or BACKENDS)}. Install"
            " one of them."
        )
    storage = Storage(options.results_folder(output, trial, __file__), REPORT)
    for part in parts:
        for backend in installed:
            _measure(storage, part, backend, trial)
    click.echo(f"Wrote {storage.folder / 'RESULTS.md'}.")


def _measure(storage: Storage, part: str, backend: str, trial: bool) -> None:
    """Measure a part on one backend, in a worker process, and store it."""
    arguments = [part, *(["--trial"] if trial else [])]
    environment = {"KERAS_BACKEND": backend}
    machine, results = None, []
    for line in json_lines("tools.bench.worker", *arguments, environment=environment):
        result = decode(line, (*KINDS, Machine))
        if isinstance(result, Machine):
            machine = result
            continue
        results.append(result)
        click.echo(_progress(result), err=True)
    if results:
        storage.merge(
            part,
            results,
            key=lambda result: result.backend,
            order=lambda result: BACKENDS.index(result.backend),
            machines={backend: machine},
        )


def _progress(result: object) -> str:
    if not isinstance(result, Measurement):
        return str(result)
    return (
        f"{result.backend} {result.mode}: {result.quantity.partition(',')[0]}, {result.work},"
        f" {result.dtype}: {result.activation} {result.value:.4g} ({result.ratio:.3f} of ReLU)"
    )


if __name__ == "__main__":
    main()
