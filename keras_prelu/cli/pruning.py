"""The option that makes ReLUs of layers whose slopes are near 0."""

from __future__ import annotations

import click

__all__ = ["prune_option"]

prune_option = click.option(
    "--prune",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Make a ReLU of a layer whose slopes are all at most this far from 0.",
)
