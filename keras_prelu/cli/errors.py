"""How errors reach the user: one line on standard error, exit status 2 for usage and 1 for failure;
a traceback with `--debug`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from keras_prelu.errors import InvalidArgumentError, KerasPReLUError

__all__ = ["reported", "set_debug"]

_DEBUG = "keras_prelu.debug"


def set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    """Callback of the `--debug` option."""
    ctx.find_root().meta[_DEBUG] = value
    return value


@contextlib.contextmanager
def reported(ctx: click.Context) -> Iterator[None]:
    """Turn exceptions into ones for which click prints one line."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        help_ = f" See {error.ctx.command_path} --help." if error.ctx else ""
        raise _UsageFailure(f"{error.format_message().rstrip('.')}.{help_}") from error
    except (
        click.ClickException,
        click.exceptions.Exit,
        click.Abort,
        BrokenPipeError,
    ):  # click leaves quietly when `head` has enough
        raise
    except Exception as error:
        if ctx.find_root().meta.get(_DEBUG):
            raise
        if isinstance(error, InvalidArgumentError):
            raise _UsageFailure(_line(error)) from error
        raise click.ClickException(_line(error)) from error


class _UsageFailure(click.ClickException):
    """What was typed can't be done: click's own UsageError, without the lines that repeat the
    usage."""

    exit_code = 2


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, KerasPReLUError):
        return text
    if isinstance(error, MemoryError):
        return "Out of memory. Use fewer samples or a smaller batch size."
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or text}"
    program = sys.argv[0].rsplit("/", 1)[-1] or "keras-prelu"
    return (
        f"Unexpected {type(error).__name__}: {text[:300]} (run {program} again with --debug for the"
        " traceback, and please report it)"
    )
