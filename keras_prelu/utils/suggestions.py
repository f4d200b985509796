"""Names in messages: the ones that a misspelled one may stand for, and a few of many."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

__all__ = ["did_you_mean", "few_of", "nearest", "similar_file"]

_CUTOFF = 0.6
_FEW = 6


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


def similar_file(path: Path) -> str:
    """Return " Did you mean …?" with a file of a similar name in the same folder, or "".

    Args:
        path: `pathlib.Path` that does not exist.
    """
    try:
        siblings = [each.stem for each in path.parent.iterdir() if each.suffix == path.suffix]
    except OSError:  # There is no such folder, or it can't be read.
        return ""
    found = nearest(path.stem, siblings)
    return f" Did you mean '{path.with_name(found[0] + path.suffix)}'?" if found else ""


def few_of(names: Collection[str], *, first: Iterable[str] = ()) -> str:
    """Return names as text: all of them, or five and how many more there are.

    Args:
        names: Collection of strings.
        first: Iterable of strings. Those of them that are listed first, if not all are. Defaults to
            none.

    Example:

    >>> few_of(["a", "b"])
    "'a', 'b'"
    >>> few_of([f"feature_{index}" for index in range(40)], first=["feature_39"])
    "'feature_39', 'feature_0', 'feature_1', 'feature_2', 'feature_3' and 35 more"
    """
    if len(names) <= _FEW:
        return ", ".join(map(repr, names))
    shown = [*dict.fromkeys([*(name for name in first if name in names), *names])][: _FEW - 1]
    return f"{', '.join(map(repr, shown))} and {len(names) - len(shown)} more"
