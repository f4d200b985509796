"""The ways in which real networks are converted and fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEFAULT", "EXPORTED", "RECIPES", "SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """How a network is converted.

    Attributes:
        name: Name in tables.
        arguments: Arguments of `run_conversion`.
        calibrates: Whether samples are given.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    calibrates: bool = True


DEFAULT = Setting("default", calibrates=False)
EXPORTED = "0.25"
"""The setting that is measured with other numbers of samples, and exported."""

SETTINGS = (
    DEFAULT,
    Setting("0.05", {"alpha": 0.05}),
    Setting("0.1", {"alpha": 0.1}),
    Setting(EXPORTED, {"alpha": 0.25}),
    Setting("auto", {"alpha": "auto"}),
    Setting("distilled", {"alpha": 0.25, "rescale": "distilled"}),
)

RECIPES = ("identity", "exp", "auto")
"""Recipes of the fine-tuning."""
