"""Comparing versions."""

from __future__ import annotations

import re

__all__ = ["numbers"]


def numbers(version: str) -> list[int]:
    """The first three numbers of a version, which compare as versions do."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
