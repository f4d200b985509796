"""Markdown: tables, and paragraphs of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["join", "paragraph", "table"]


def paragraph(text: str) -> str:
    """Return a text in lines of at most 100 columns, cut only at spaces."""
    return textwrap.fill(
        " ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Return a table.

    Args:
        header: Column titles.
        rows: Cells of each row.
        left: Indices of the columns that are aligned to the left; the others, of numbers, are
            aligned to the right.
    """
    texts = set(left)
    alignment = "".join("---|" if index in texts else "---:|" for index in range(len(header)))
    lines = [_line(header), f"|{alignment}", *(_line(cells) for cells in rows)]
    return "\n".join(lines)


def join(blocks: Iterable[str]) -> str:
    """Return blocks with an empty line between them; empty blocks are left out."""
    return "\n\n".join(block for block in blocks if block)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
