"""`python -m tools.bench`: measure every installed backend, write RESULTS.md and results.json."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from tools.bench.records import OURS, RELU, STOCK, Failure, Machine, Measurement
from tools.bench.report import Run, markdown
from tools.bench.worker import BACKENDS, PARTS

RECORDS = {"Measurement": Measurement, "Failure": Failure}


@click.command()
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(BACKENDS),
    help="Measure this one. Default: all installed.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(list(PARTS)),
    help="Measure this part. Default: all.",
)
@click.option(
    "--trial",
    is_flag=True,
    help="Small and few, to see that everything runs; the figures mean nothing.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(backends: tuple[str, ...], parts: tuple[str, ...], trial: bool, output: Path) -> None:
    """Measure what PReLU costs against ReLU: time, memory, and what bounds both.

    Takes about forty minutes on two cores. Nothing else should run meanwhile.
    """
    installed = [name for name in backends or BACKENDS if importlib.util.find_spec(name)]
    if not installed:
        raise click.ClickException(f"None of {', '.join(backends or BACKENDS)} is installed.")
    runs = [_run(backend, parts or tuple(PARTS), trial) for backend in installed]
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(
        json.dumps([dataclasses.asdict(run) for run in runs], indent=1) + "\n"
    )
    (output / "RESULTS.md").write_text(markdown(runs))
    click.echo(f"Wrote {output / 'RESULTS.md'} and {output / 'results.json'}.")


def _run(backend: str, parts: tuple[str, ...], trial: bool) -> Run:
    machine, results = None, []
    arguments = [backend, *(f"--part={part}" for part in parts), *(["--trial"] if trial else [])]
    command = [sys.executable, "-m", "tools.bench.worker", *arguments]
    # A file, not a pipe: nobody reads it before the end, and a full pipe would stop the worker.
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as worker,
    ):
        for line in worker.stdout:
            record = json.loads(line)
            kind = record.pop("type")
            if kind == "Machine":
                machine = Machine(**record)
                continue
            results.append(RECORDS[kind](**record))
            _progress(results[-1])
        if worker.wait() != 0:
            errors.seek(0)
            raise click.ClickException(f"Measuring {backend} failed:\n{errors.read()}")
    if backend == "tensorflow" and "memory" in parts:
        results += _peaks(trial)
    return Run(backend, machine, tuple(results))


def _peaks(trial: bool, repetitions: int = 3) -> list[Measurement]:
    """Peak memory of a whole process, which needs one for each activation; in turn, the median of
    three."""
    found = {name: [] for name in (RELU, STOCK, OURS)}
    for _ in range(1 if trial else repetitions):
        for name, values in found.items():
            command = [
                sys.executable,
                "-m",
                "tools.bench.worker",
                "tensorflow",
                "--peak",
                name,
                *(["--trial"] if trial else []),
            ]
            values.append(
                json.loads(
                    subprocess.run(command, capture_output=True, text=True, check=True).stdout
                )
            )
    measurements = []
    for name, values in found.items():
        low, ratio, high = np.quantile(np.array(values) / found[RELU], [0.25, 0.5, 0.75])
        measurements.append(
            Measurement(
                "tensorflow",
                "graph",
                "peak memory of the process, MB",
                "9 convolutions",
                "float32",
                name,
                float(np.median(values)),
                float(ratio),
                float(low),
                float(high),
            )
        )
        _progress(measurements[-1])
    return measurements


def _progress(result: Measurement | Failure) -> None:
    if isinstance(result, Failure):
        click.echo(f"{result.backend} {result.mode}, {result.work}: {result.reason}", err=True)
        return
    place = (
        f"{result.backend} {result.mode}: {result.quantity.partition(',')[0]}, {result.work},"
        f" {result.dtype}"
    )
    click.echo(
        f"{place}: {result.activation} {result.value:.4g} ({result.ratio:.3f} of ReLU)", err=True
    )


if __name__ == "__main__":
    main()
