"""Results in notebooks, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from keras_prelu.display.tables import Table

__all__ = ["Shown"]

_RIGHT = ' style="text-align: right; font-variant-numeric: tabular-nums"'
_LEFT = ' style="text-align: left"'


class Shown:
    """Base class of results that notebooks show as sentences and tables."""

    def tables(self) -> tuple[Table, ...]:
        """Return the tables that tell the result."""
        return ()

    def sentences(self) -> tuple[str, ...]:
        """Return what is to be said of the result, the most important first."""
        return ()

    def _repr_html_(self) -> str:
        paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in self.sentences())
        return f"<div>{paragraphs}{''.join(_table(table) for table in self.tables())}</div>"


def _table(table: Table) -> str:
    if not table.rows:
        return f"<p>{html.escape(table.title)}: none.</p>"
    styles = [_RIGHT if column in table.right else _LEFT for column in table.columns]
    heading = _row("th", table.columns, styles)
    shown = set(table.shown())
    rows = [_row("td", row, styles) for row in table.rows]
    first = "".join(row for index, row in enumerate(rows) if index in shown)
    text = (
        f"<table><caption{_LEFT}>{html.escape(table.title)}</caption>"
        f"<thead>{heading}</thead><tbody>{first}</tbody></table>"
    )
    if len(shown) == len(rows):
        return text
    return (
        f"{text}<details><summary>{html.escape(table.summary())}</summary>"
        f"<table><thead>{heading}</thead><tbody>{''.join(rows)}</tbody></table></details>"
    )


def _row(tag: str, cells: Sequence[object], styles: Sequence[str]) -> str:
    parts = (
        f"<{tag}{style}>{html.escape(str(cell))}</{tag}>"
        for cell, style in zip(cells, styles, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>"
