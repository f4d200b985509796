"""Tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich import table as rich_table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from keras_prelu.cli.output import echo
from keras_prelu.display.tables import Table, number
from keras_prelu.utils.printable import printable

__all__ = ["number", "print_table", "print_tables"]

_WIDTH_WITHOUT_TERMINAL = 140
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
    """Print a table with these attributes of `Table`."""
    print_tables([Table(title=title, columns=columns, rows=rows, right=right, worst=worst)])


def print_tables(tables: Sequence[Table]) -> None:
    """Print tables; names, in their first columns, are never broken, so that they can be copied.

    Long ones are shortened to their worst rows unless the command was called with --verbose.
    """
    context = click.get_current_context(silent=True)
    is_verbose = context is not None and bool(context.params.get("verbose"))
    for table in tables:
        _print(table, is_verbose)


def _print(table: Table, is_verbose: bool) -> None:
    if not table.rows:
        echo(f"{table.title}: none.")
        return
    cells = [
        [printable(str(cell)) for cell in table.rows[index]]
        for index in table.shown(everything=is_verbose)
    ]
    console = Console(highlight=False)
    available = console.width if console.is_terminal else _WIDTH_WITHOUT_TERMINAL
    grid = rich_table.Table(header_style="bold", box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    needed = 0
    for index, column in enumerate(table.columns):
        width = max([cell_len(column), *(cell_len(row[index]) for row in cells)])
        is_whole = index == 0 or column in table.right or width <= _SENTENCE
        grid.add_column(
            column,
            justify="right" if column in table.right else "left",
            overflow="fold",
            no_wrap=is_whole,
        )
        needed += (width if is_whole else _SENTENCE) + _GAP
    for row in cells:
        grid.add_row(*map(Text, row))
    console = Console(highlight=False, width=max(available, needed))
    console.print(Text(printable(table.title), style="bold"), soft_wrap=True)
    for line in console.render_lines(grid, pad=False):
        text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
        text.rstrip()  # Without the blanks that fill the cells of the last column.
        console.print(text, soft_wrap=True)
    summary = table.summary(everything=is_verbose)
    if summary:
        echo(f"{summary} --verbose lists all.")
    echo()
