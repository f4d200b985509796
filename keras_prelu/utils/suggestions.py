"""The names that a misspelled one may stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_CUTOFF = 0.6


def nearest(
    text: str, names: Iterable[str], *, count: int = 1, cutoff: float = _CUTOFF
) -> list[str]:
    """Return the names that are most similar to a text, whatever the case of either.

    Args:
        text: String. What was written.
        names: Iterable of strings. What there is.
        count: Integer. The largest number of names. Defaults to 1.
        cutoff: Float from 0 to 1. The least similarity, as in `difflib`. Defaults to 0.6.

    Returns:
        A list of strings, the most similar first; it may be empty.
    """
    written: dict[str, str] = {}
    for name in names:
        written.setdefault(name.lower(), name)
    near = difflib.get_close_matches(text.lower(), written, n=count, cutoff=cutoff)
    return [written[each] for each in near]


def did_you_mean(
    text: str, names: Iterable[str], *, count: int = 1, cutoff: float = _CUTOFF
) -> str:
    """Return " Did you mean …?" with the names that are nearest to a text, or "".

    Args:
        text: String. What was written.
        names: Iterable of strings. What there is.
        count: Integer. The largest number of names. Defaults to 1.
        cutoff: Float from 0 to 1. The least similarity. Defaults to 0.6.
    """
    found = nearest(text, names, count=count, cutoff=cutoff)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
