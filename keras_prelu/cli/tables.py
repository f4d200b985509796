"""Tables on standard output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keras_prelu.cli.output import echo
from keras_prelu.utils.printable import printable

__all__ = ["number", "print_table"]

_WIDTH_WITHOUT_TERMINAL = 140
_LONG = 16
"""Number of rows above which a table is shortened to its worst rows."""
_SHOWN = 5
_SENTENCE = 32
"""Width above which the cells of a column may be broken, unless they are names."""
_GAP = 2


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    worst: Sequence[float | None] | None = None,
) -> None:
    """Print a table.

    The first column holds names and is never broken, so that they can be copied.

    Args:
        title: String. Printed above the table.
        columns: Sequence of strings. The headings.
        rows: Sequence of rows.
        right: Sequence of strings. The columns that are aligned to the right, which hold numbers.
        worst: Sequence of floats. How bad each row is. Of a table of more than 16 rows only the
            worst five are printed, in their order, with the range of the others, unless the command
            was called with --verbose. Defaults to None: all rows are printed.
    """
    shown = _shown(rows, worst)
    cells = [[printable(str(cell)) for cell in rows[index]] for index in shown]
    console = Console(highlight=False)
    available = console.width if console.is_terminal else _WIDTH_WITHOUT_TERMINAL
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    needed = 0
    for index, column in enumerate(columns):
        width = max([cell_len(column), *(cell_len(row[index]) for row in cells)])
        is_whole = index == 0 or column in right or width <= _SENTENCE
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=is_whole,
        )
        needed += (width if is_whole else _SENTENCE) + _GAP
    for row in cells:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, width=max(available, needed))
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    console.print(table)
    hidden = [row for index, row in enumerate(rows) if index not in set(shown)]
    if hidden:
        echo(_summary(columns, hidden, right))
    echo()


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def _shown(rows: Sequence[Any], worst: Sequence[float | None] | None) -> list[int]:
    """Return the positions of the rows that are printed."""
    context = click.get_current_context(silent=True)
    is_verbose = context is not None and bool(context.params.get("verbose"))
    if worst is None or is_verbose or len(rows) <= _LONG:
        return list(range(len(rows)))
    badness = [-math.inf if each is None or math.isnan(each) else each for each in worst]
    order = sorted(range(len(rows)), key=lambda index: -badness[index])
    return sorted(order[:_SHOWN])


def _summary(columns: Sequence[str], hidden: Sequence[Sequence[Any]], right: Sequence[str]) -> str:
    """Return a line on the rows that are not printed, with the ranges of their numbers."""
    ranges = []
    for index, column in enumerate(columns):
        values = [_value(row[index]) for row in hidden] if column in right else []
        known = [value for value in values if value is not None]
        if known:
            low, high = number(min(known)), number(max(known))
            ranges.append(f"{column} {low}" + ("" if low == high else f" to {high}"))
    about = f": {', '.join(ranges)}" if ranges else ""
    return f"… and {len(hidden)} more{about}. --verbose lists all."


def _value(cell: Any) -> float | None:
    try:
        value = float(str(cell).replace(",", "").removesuffix("%").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None
