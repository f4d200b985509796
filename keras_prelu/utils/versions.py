"""Comparison of versions."""

from __future__ import annotations

import re

__all__ = ["version_key"]


def version_key(version: str) -> list[int]:
    """Return the first three numbers of a version, which sort as versions do.

    Args:
        version: String. A version such as "3.13.2".
    """
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
