"""Tables of results, which the command line prints and notebooks show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Table", "number"]

_LONG = 16
"""Number of rows above which a table is shortened to its worst rows."""
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a name in its first column.

    Attributes:
        title: String. Printed above the table.
        columns: Sequence of strings. The headings.
        rows: Sequence of rows.
        right: Sequence of strings. The columns that are aligned to the right, which hold numbers.
        worst: Sequence of floats. How bad each row is. Of a table of more than 16 rows only the
            worst five are shown, in their order, with the range of the others. None shows all.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    right: Sequence[str] = ()
    worst: Sequence[float | None] | None = None

    def shown(self, *, everything: bool = False) -> list[int]:
        """Return the positions of the rows that are shown."""
        if self.worst is None or everything or len(self.rows) <= _LONG:
            return list(range(len(self.rows)))
        badness = [-math.inf if each is None or math.isnan(each) else each for each in self.worst]
        order = sorted(range(len(self.rows)), key=lambda index: -badness[index])
        return sorted(order[:_SHOWN])

    def summary(self, *, everything: bool = False) -> str:
        """Return a line on the rows that are not shown, with the ranges of their numbers, or ""."""
        shown = set(self.shown(everything=everything))
        hidden = [row for index, row in enumerate(self.rows) if index not in shown]
        if not hidden:
            return ""
        ranges = []
        for index, column in enumerate(self.columns):
            values = [_value(row[index]) for row in hidden] if column in self.right else []
            known = [value for value in values if value is not None]
            if known:
                low, high = number(min(known)), number(max(known))
                ranges.append(f"{column} {low}" + ("" if low == high else f" to {high}"))
        about = f": {', '.join(ranges)}" if ranges else ""
        return f"… and {len(hidden)} more{about}."


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}g}"


def _value(cell: Any) -> float | None:
    try:
        value = float(str(cell).replace(",", "").removesuffix("%").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None
