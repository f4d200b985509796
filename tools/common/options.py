"""Command-line options that tools share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from tools.common.machine import BACKENDS
from tools.common.packages import Packages, default_folder

__all__ = ["backends", "only", "output", "packages", "parts", "results_folder", "trial"]

Decorator = Callable[[Any], Any]

trial: Decorator = click.option(
    "--trial",
    is_flag=True,
    help="Measure little, to check that everything runs; the figures mean nothing.",
)
only: Decorator = click.option(
    "--only", default="", metavar="TEXT", help="Restrict to what has TEXT in its name."
)
output: Decorator = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the results. Defaults to the tool's, or to a new one for a trial.",
)
backends: Decorator = click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(BACKENDS),
    help="Backend to measure. Defaults to all that are installed.",
)
packages: Decorator = click.option(
    "--packages",
    type=click.Path(path_type=Path, file_okay=False),
    callback=lambda _context, _option, folder: Packages(folder),
    default=default_folder,
    envvar="KERAS_PRELU_PACKAGES",
    show_envvar=True,
    help="Folder that trained networks and data are fetched into, once. Defaults to one in the"
    " user's cache.",
)


def parts(names: Iterable[str]) -> Decorator:
    """Return the option `--part`, which may be repeated."""
    names = tuple(names)
    return click.option(
        "--part",
        "parts",
        multiple=True,
        type=click.Choice(names),
        default=names,
        help="Part to measure; the stored results of others are kept. Defaults to all.",
    )


def results_folder(given: Path | None, trial: bool, main_file: str) -> Path:
    """Return where results go: never beside the stored ones if they are those of a trial."""
    if given is not None:
        return given
    return Path(tempfile.mkdtemp(prefix="trial-")) if trial else Path(main_file).parent
