"""Reports of errors to the user.

An error is one line on standard error, with a status of `exit_statuses`. With `--debug`, failures
show their traceback.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from keras_prelu.cli.exit_statuses import status_of
from keras_prelu.cli.output import echo
from keras_prelu.errors import KerasPReLUError
from keras_prelu.utils.printable import printable

__all__ = ["errors_on_one_line", "set_debug"]

_DEBUG = "keras_prelu.debug"
_LONGEST_MESSAGE = 300


def set_debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    """Store the value of `--debug` for `errors_on_one_line`, as the callback of the option."""
    ctx.find_root().meta[_DEBUG] = value
    return value


@contextlib.contextmanager
def errors_on_one_line(ctx: click.Context) -> Iterator[None]:
    """Turn exceptions of the body into exceptions that Click prints on one line."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        hint = f" See {error.ctx.command_path} --help." if error.ctx else ""
        message = printable(error.format_message().rstrip("."))
        end = "" if message.endswith("?") else "."
        raise _Failure(f"{message}{end}{hint}", status_of(error)) from error
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except KeyboardInterrupt as interrupt:
        echo("Interrupted.", err=True)
        raise click.exceptions.Exit(status_of(interrupt)) from None
    except BrokenPipeError:  # A reader such as `head` stopped reading: Click exits silently.
        raise
    except Exception as error:
        if ctx.find_root().meta.get(_DEBUG):
            raise
        raise _Failure(_describe(error), status_of(error)) from error


class _Failure(click.ClickException):
    """An error that is printed on one line, without Click's usage lines."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        # Click declares a class variable, but reads it from the instance.
        vars(self)["exit_code"] = status


def _describe(error: Exception) -> str:
    """Return one line that describes an exception and what to do about it."""
    text = printable(" ".join(str(error).split()))
    if isinstance(error, KerasPReLUError):
        return text
    if isinstance(error, MemoryError):
        return (
            f"Out of memory{f': {text}' if text else ''}. Use fewer samples, or a smaller value of"
            " --batch-size, --samples or --memory-limit where the command has it."
        )
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or text}"
    program = sys.argv[0].rsplit("/", 1)[-1] or "keras-prelu"
    return (
        f"Unexpected {type(error).__name__}: {text[:_LONGEST_MESSAGE]} (run {program} again with"
        " --debug for the traceback, and please report it)"
    )
