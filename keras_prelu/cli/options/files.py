"""The model that a command reads and the file that it writes."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.options.groups import Decorator
from keras_prelu.cli.options.numbers import NOT_NEGATIVE, number_option
from keras_prelu.cli.options.parameter_types import ModelParameter, NamedPath

__all__ = [
    "MODEL",
    "force_option",
    "model_argument",
    "original_option",
    "output_option",
    "prune_option",
]

_PATH = NamedPath(path_type=Path)
MODEL = ModelParameter()
"""The type of arguments and options that take a model."""

model_argument = click.argument("model", type=MODEL)

force_option = click.option("--force", is_flag=True, help="Overwrite existing output files.")

prune_option = number_option(
    "--prune",
    NOT_NEGATIVE,
    default=0.0,
    help="Turn PReLU layers whose slopes are all within this distance of 0 into ReLUs.",
)


def output_option(default: str) -> Decorator:
    """Return a decorator that adds --output, with a sentence on its default, to a command."""
    return click.option(
        "-o", "--output", type=_PATH, help=f"Output file.  [default: {default} beside MODEL]"
    )


def original_option(*, required: bool) -> Decorator:
    """Return a decorator that adds --original to a command."""
    return click.option(
        "--original",
        type=MODEL,
        required=required,
        help="The ReLU model that MODEL was converted from.",
    )
