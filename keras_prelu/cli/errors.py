"""Reports of errors to the user.

An error is one line on standard error, with a status of `exit_statuses`. With `--debug`, failures
show their traceback.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

import click

from keras_prelu.cli.exit_statuses import status_of
from keras_prelu.cli.output import echo
from keras_prelu.errors import KerasPReLUError
from keras_prelu.utils.printable import printable

__all__ = ["errors_on_one_line", "set_debug", "with_options"]

_DEBUG = "keras_prelu.debug"
_LONGEST_MESSAGE = 300
_QUOTES = "'\""
_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")
_OPTION_NAMES = {"calibration_data": "source"}
"""The parameters of commands that are not named like the arguments."""


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
        raise _Failure(with_options(_describe(error), ctx), status_of(error)) from error


class _Failure(click.ClickException):
    """An error that is printed on one line, without Click's usage lines."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        # Click declares a class variable, but reads it from the instance.
        vars(self)["exit_code"] = status


def with_options(message: str, ctx: click.Context) -> str:
    """Return a message with the command's options in place of arguments of Python's functions.

    `budget` becomes --budget, and `alpha="auto"` becomes --alpha auto, if the command that was
    called has such options.
    """
    if "`" not in message or not isinstance(ctx.command, click.Group):
        return message
    command = ctx.command.get_command(ctx, ctx.invoked_subcommand or "")
    options = {
        parameter.name: parameter
        for parameter in (command.params if command else ())
        if isinstance(parameter, click.Option)
    }

    def as_option(found: re.Match[str]) -> str:
        option = options.get(_OPTION_NAMES.get(found[1], found[1]))
        if option is None:
            return found[0]
        names = option.secondary_opts if found[2] == "False" else option.opts
        value = "" if found[2] in (None, "True", "False") else f" {found[2].strip(_QUOTES)}"
        return f"{names[-1]}{value}" if names else found[0]

    return _ARGUMENT.sub(as_option, message)


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
