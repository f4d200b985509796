"""The options of every command, which starts Keras with them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.errors import set_debug
from keras_prelu.cli.options.groups import Callback, option, option_group
from keras_prelu.cli.session import BACKENDS, keras_session

__all__ = ["SessionOptions", "session_options"]


@dataclass(frozen=True)
class SessionOptions:
    """The options of every command.

    Attributes:
        json: Boolean. Whether to print one JSON object instead of tables to standard output.
        backend: String or None. The Keras backend; None leaves the choice to Keras.
        seed: Integer. Seed of all random numbers.
        modules: Tuple of strings. Modules to import before models are loaded.
        allow_unsafe: Boolean. Whether Python code stored in model files may run.
        debug: Boolean. Whether tracebacks and the libraries' own output are shown.
    """

    json: bool = option("--json", is_flag=True, help="Print one JSON object instead of tables.")
    backend: str | None = option(
        "--backend",
        type=click.Choice(BACKENDS),
        help="Keras backend.  [default: KERAS_BACKEND, else tensorflow]",
    )
    seed: int = option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        help="Seed of all random numbers.",
    )
    modules: tuple[str, ...] = option(
        "--import",
        multiple=True,
        metavar="MODULE",
        help="Import a module that registers custom layers. Can be repeated.",
    )
    allow_unsafe: bool = option(
        "--allow-unsafe",
        is_flag=True,
        help="Run Python code stored in model files, such as Lambda layers. Only for files that you"
        " trust like a program.",
    )
    debug: bool = option(
        "--debug",
        is_flag=True,
        callback=set_debug,
        help="Show tracebacks and everything that the libraries print.",
    )

    def load_model(self, path: Path) -> Any:
        """Return the model in a file."""
        from keras_prelu.io.model_files import load_model

        return load_model(path, allow_unsafe=self.allow_unsafe)

    def load_loss(self, name: str | None) -> Any:
        """Return the loss that --loss names, or None without the option."""
        from keras_prelu.data.losses import named_loss

        return None if name is None else named_loss(name)


def session_options(function: Callback) -> Callback:
    """Add the options of every command to a command.

    The command is called with them as `session=` after Keras has been started.
    """

    @option_group("session", SessionOptions)
    @functools.wraps(function)
    def command(*args: Any, session: SessionOptions, **kwargs: Any) -> None:
        with keras_session(
            backend=session.backend,
            seed=session.seed,
            modules=session.modules,
            debug=session.debug,
        ):
            function(*args, session=session, **kwargs)

    return command
