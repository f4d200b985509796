"""`KERAS_BACKEND=jax python -m tools.bench.gpu`: measure what PReLU costs on a GPU; write
RESULTS.md and results.json. Each task runs in a process of its own, with a time limit."""

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
from tools.common import options

_LEAST_SECONDS = 15
"""With less time left no further task starts."""


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
@options.trial
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(parts: tuple[str, ...], seconds: float, trial: bool, output: Path) -> None:
    """Measure with the backend of KERAS_BACKEND, jax or torch; other results in the folder are
    kept.

    Records are appended to a file as they are measured, so that an interrupted run loses none.
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that its worker is ended too
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
    """Return the environment of the workers, in which JAX allocates memory as needed and shares
    what it compiled with later processes."""
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
