"""Tables, JSON and progress bars. What they show is computed elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

__all__ = ["dead_of", "number", "print_json", "print_table", "progress", "spread", "to_json"]

_WIDTH_OF_A_FILE = 140  # when standard output is no terminal


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[str] = ()
) -> None:
    """A table on standard output; the columns named in `right` are aligned to the right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_OF_A_FILE)
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)
    click.echo()


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    click.echo(to_json(value))


def to_json(value: Any) -> str:
    """Dataclasses, arrays and paths as JSON text."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Dataclasses as dicts, paths as text, numbers that JSON lacks (NaN, ∞) as null; models are
    left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {
            str(key): _plain(item)
            for key, item in value.items()
            if not hasattr(item, "stateless_call")
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def dead_of(sites: Sequence[Any]) -> str:
    """The dead units of all sites, as "3 of 192"."""
    return f"{sum(site.dead for site in sites)} of {sum(site.units for site in sites)}"


def spread(values: Sequence[float], pattern: str) -> str:
    """Mean ± standard deviation (of the sample) of values over seeds."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return pattern.format(mean)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{pattern.format(mean)} ± {pattern.replace('+', '').format(deviation)}"


@contextlib.contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, if that is a terminal; yields a function of (done,
    total)."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done, all_: bar.update(task, completed=done, total=all_)
