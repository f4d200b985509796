"""`KERAS_BACKEND=jax python -m tools.bench.gpu`: what PReLU costs on a GPU. Each task runs in a process of its own, for a time at most."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from tools.bench.gpu.records import Failure, Log
from tools.bench.gpu.store import Store
from tools.bench.gpu.tasks import BACKENDS, PARTS, limit, tasks

_LEAST_SECONDS = 15
"""With less left no further task is begun."""


@click.command()
@click.option(
    "--part",
    "parts",
    multiple=True,
    default=PARTS,
    help=f"One of {', '.join(PARTS)}, or a task, as step:float32.",
)
@click.option(
    "--seconds",
    type=float,
    default=float("inf"),
    help="How long all may take; what doesn't fit is left out.",
)
@click.option(
    "--trial",
    is_flag=True,
    help="Small and few, also without a GPU, to see that everything runs; the figures mean nothing.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(parts: tuple[str, ...], seconds: float, trial: bool, output: Path) -> None:
    """Measure with the backend of KERAS_BACKEND, jax or torch; other results in the folder are kept.

    Records are appended to a file as they are found, so that what is stopped loses none.
    """
    end = time.monotonic() + seconds
    backend = os.environ.get("KERAS_BACKEND", "")
    if backend not in BACKENDS:
        raise click.ClickException(
            f"KERAS_BACKEND must be {' or '.join(BACKENDS)}. It is {backend!r}."
        )
    try:
        wanted = [task for part in parts for task in tasks(part, backend)]
    except ValueError as problem:
        raise click.UsageError(str(problem)) from problem
    output.mkdir(parents=True, exist_ok=True)
    store = Store(folder=output, trial=trial)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a worker is ended too
    with tempfile.TemporaryDirectory(prefix="bench_gpu_") as cache:
        for task in wanted:
            log, allowed = (
                Log(store.records(backend), task),
                min(limit(task), end - time.monotonic()),
            )
            if allowed < _LEAST_SECONDS:
                click.echo(f"{backend} {task}: no time left", err=True)
                continue
            log.begin()
            start = time.monotonic()
            try:
                _run(task, store, backend, allowed, _environment(cache), log)
            finally:
                store.merge(BACKENDS)
            click.echo(f"{backend} {task}: {time.monotonic() - start:.0f} s", err=True)
    click.echo(f"Wrote {store.report}.")


def _environment(cache: str) -> dict[str, str]:
    """Of the workers: JAX takes memory as it needs it, and compiles what a later process needs too only once."""
    defaults = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return {**defaults, **os.environ, "PYTHONUNBUFFERED": "1"}


def _run(
    task: str, store: Store, backend: str, seconds: float, environment: dict[str, str], log: Log
) -> None:
    command = [
        sys.executable,
        "-m",
        "tools.bench.gpu.worker",
        task,
        "--records",
        str(store.records(backend)),
    ]
    part = task.partition(":")[0]
    with open(store.log(backend), "a", encoding="utf-8") as output:
        output.write(f"== {task}\n")
        output.flush()
        worker = subprocess.Popen(
            [*command, *(["--trial"] if store.trial else [])],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            code = worker.wait(seconds)
        except subprocess.TimeoutExpired:
            log.add(Failure(part=part, work=task, reason=f"stopped after {seconds:.0f} s"))
            return
        finally:
            with contextlib.suppress(ProcessLookupError):  # its own children too
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    if code:
        log.add(
            Failure(
                part=part, work=task, reason=f"ended with {code}: {_last_line(store.log(backend))}"
            )
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


if __name__ == "__main__":
    main()
