"""Runs one task, in a process of its own:
`python -m tools.bench.gpu.worker step:float32 --records FILE`."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from tools.bench.gpu.records import Log
from tools.common.machine import machine


@click.command()
@click.argument("task")
@click.option(
    "--records",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File that records are appended to.",
)
@click.option("--trial", is_flag=True, help="Small and few.")
def main(task: str, records: Path, trial: bool) -> None:
    """Run TASK with the backend of KERAS_BACKEND."""
    warnings.simplefilter("ignore")
    from tools.bench.gpu import activation, demo, device, job, step
    from tools.bench.gpu.effort import FULL, TRIAL

    effort, log = TRIAL if trial else FULL, Log(records, task)
    device.check_device(trial)
    log.add(machine())
    part, _, detail = task.partition(":")
    if part in (step.TRAINING, step.INFERENCE):
        step.measure(part, detail, effort, log)
    elif part == activation.PART:
        if detail in activation.modes():
            activation.measure(detail, effort, log)
    elif part == job.PART:
        job.measure(effort, log)
    else:
        demo.measure(effort, log)


if __name__ == "__main__":
    main()
