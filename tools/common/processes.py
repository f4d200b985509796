"""Worker processes: each measures in a process of its own and prints its results as JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import click

from tools.common.records import encode

__all__ = ["WorkerFailed", "emit", "json_lines", "quiet"]

_HOURS = 3 * 3600.0


class WorkerFailed(click.ClickException):
    """A worker process that ended with an error or took too long.

    Attributes:
        returncode: Its exit status; the negative number of a signal that ended it.
        errors: What it wrote to standard error.
    """

    def __init__(self, command: str, returncode: int, errors: str) -> None:
        super().__init__(f"{command} failed with status {returncode}:\n{errors}")
        self.returncode, self.errors = returncode, errors


def json_lines(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = _HOURS,
) -> Iterator[dict[str, Any]]:
    """Run `python -m module arguments` and yield each JSON object that it prints, as it comes.

    Args:
        module: Name of the module.
        *arguments: Arguments of its command line.
        environment: Environment variables besides those of this process.
        seconds: Time limit, after which the worker is killed.

    Raises:
        WorkerFailed: At the end, if the worker failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    # Standard error goes to a file: it is read only at the end, and a full pipe would block.
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **(environment or {})},
        ) as worker,
    ):
        timer = threading.Timer(seconds, worker.kill)
        timer.start()
        try:
            for line in worker.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
            returncode = worker.wait()
        finally:
            timer.cancel()
            worker.kill()  # has no effect on a worker that ended
        if returncode:
            errors.seek(0)
            raise WorkerFailed(" ".join(command[1:]), returncode, errors.read())


def emit(result: Any) -> None:
    """Print a dataclass as the JSON line that `json_lines` reads."""
    print(json.dumps(encode(result)), flush=True)


def quiet() -> None:
    """Silence the libraries' warnings while a tool measures."""
    warnings.simplefilter("ignore")
