"""Results as JSON: each result is a dataclass, stored beside the name of its class."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["decode", "encode"]


def encode(result: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with the name of its class as "type"."""
    return {"type": type(result).__name__, **dataclasses.asdict(result)}


def decode(stored: Mapping[str, Any], kinds: Iterable[type]) -> Any:
    """Return the result that `encode` stored; `kinds` are the classes that it may have."""
    fields = dict(stored)
    name = fields.pop("type")
    return next(kind for kind in kinds if kind.__name__ == name)(**fields)
