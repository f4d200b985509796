"""Printing of text that may hold names from files."""

from __future__ import annotations

import click

from keras_prelu.utils.printable import printable

__all__ = ["echo"]


def echo(text: str = "", *, err: bool = False) -> None:
    """Print a line to standard output or standard error, with control characters escaped.

    Args:
        text: String. The line.
        err: Boolean. Whether to print to standard error. Defaults to False.
    """
    click.echo(printable(text), err=err)
