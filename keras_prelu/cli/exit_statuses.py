"""The exit statuses of the command line, besides 0."""

from __future__ import annotations

from typing import Final

__all__ = ["ABOVE_LIMIT", "FAILURE", "INTERRUPTED", "WORSE", "WRONG_USAGE"]

FAILURE: Final = 1
"""A failure other than wrong usage; Click's own default."""
WRONG_USAGE: Final = 2
"""Wrong arguments, options or values."""
ABOVE_LIMIT: Final = 3
"""`diagnose --fail-on`: a measure is above its limit."""
WORSE: Final = 4
"""Fine-tuning made the network worse than the file that came in, or than its control."""
INTERRUPTED: Final = 130
"""Ctrl-C: 128 + SIGINT, as shells report it."""
