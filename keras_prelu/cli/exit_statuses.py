"""The exit statuses of the command line, besides 0, and which error gets which."""

from __future__ import annotations

from typing import Final

import click

from keras_prelu.errors import InvalidArgumentError

__all__ = ["ABOVE_LIMIT", "FAILURE", "INTERRUPTED", "WORSE", "WRONG_USAGE", "status_of"]

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

_OF_ERRORS: Final = (
    ((click.UsageError, InvalidArgumentError), WRONG_USAGE),
    (KeyboardInterrupt, INTERRUPTED),
)


def status_of(error: BaseException) -> int:
    """Return the exit status of an error that ends a command."""
    return next((status for kinds, status in _OF_ERRORS if isinstance(error, kinds)), FAILURE)
