"""JSON and the printed form of records.

Nothing is computed here that is missing from the JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_prelu.cli.output import echo
from keras_prelu.cli.tables import number, print_tables

__all__ = [
    "count",
    "mean_and_deviation",
    "number",
    "print_json",
    "print_shown",
    "to_json",
]


def print_json(value: Any) -> None:
    """Print one JSON object."""
    echo(to_json(value))


def to_json(value: Any) -> str:
    """Return dataclasses, arrays and paths as JSON text."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    # JSON escapes ASCII's control characters, and leaves those of Unicode as they are.
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in text
    )


def _plain(value: Any) -> Any:
    """Return a value as the types of JSON.

    Dataclasses become objects and paths strings; numbers that JSON lacks (NaN, ∞) become null;
    models are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {
            str(key): _plain(member)
            for key, member in value.items()
            if not hasattr(member, "stateless_call")
        }
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def count(quantity: int, noun: str) -> str:
    """Return a quantity with its noun: "1 site", "3 sites"."""
    return f"{quantity:,} {noun}{'' if quantity == 1 else 's'}"


def mean_and_deviation(values: Sequence[float], pattern: str) -> str:
    """Return the mean of values over seeds ± their sample standard deviation, as text."""
    if len(values) < 2:
        return pattern.format(values[0])
    deviation_pattern = pattern.replace("+", "")
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return f"{pattern.format(mean)} ± {deviation_pattern.format(deviation)}"


def print_shown(result: Any) -> None:
    """Print the tables and sentences of a result."""
    print_tables(result.tables())
    for sentence in result.sentences():
        echo(sentence)
