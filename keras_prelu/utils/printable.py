"""Text from files and models as a terminal may show it."""

from __future__ import annotations

__all__ = ["printable"]

_ALLOWED = "\n\t"


def printable(text: str) -> str:
    r"""Return text in which control characters are escaped, as `\x1b`.

    The names of layers in a file may hold escape sequences, which a terminal would carry out.

    Args:
        text: String. Any text.

    Example:

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in _ALLOWED
        else character.encode("unicode_escape").decode()
        for character in text
    )
