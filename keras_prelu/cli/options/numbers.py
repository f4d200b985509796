"""Options that take a number."""

from __future__ import annotations

import click

from keras_prelu.cli.options.groups import Decorator

__all__ = ["COUNT", "NOT_NEGATIVE", "POSITIVE", "number_option"]

COUNT = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)
NOT_NEGATIVE = click.FloatRange(min=0)


def number_option(
    declaration: str, type_: click.IntRange | click.FloatRange, *, default: float, help: str
) -> Decorator:
    """Return a decorator that adds an option with a default, which the help shows, to a command.

    Args:
        declaration: String. Name of the option, such as "--samples".
        type_: `click.IntRange` or `click.FloatRange`. The numbers that are accepted.
        default: Float. The number without the option.
        help: String. What the help says of it.
    """
    return click.option(declaration, type=type_, default=default, show_default=True, help=help)
