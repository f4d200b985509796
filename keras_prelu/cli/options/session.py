"""The options of every command, which starts Keras with them."""

from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.errors import set_debug
from keras_prelu.cli.options.groups import Callback, option, option_group
from keras_prelu.cli.run_files import config_option
from keras_prelu.cli.session import BACKENDS, keras_session
from keras_prelu.io.model_names import ModelName

__all__ = ["SessionOptions", "session_options"]


@dataclass(frozen=True)
class SessionOptions:
    """The options of every command.

    Attributes:
        verbose: Boolean. Whether long tables are printed whole.
        json: Boolean. Whether to print one JSON object instead of tables to standard output.
        backend: String or None. The Keras backend; None leaves the choice to Keras.
        seed: Integer. Seed of all random numbers.
        modules: Tuple of strings. Modules to import before models are loaded; "module:function"
            also names what builds the model of a file of weights.
        allow_unsafe: Boolean. Whether Python code stored in model files may run.
        debug: Boolean. Whether tracebacks and the libraries' own output are shown.
    """

    verbose: bool = option(is_flag=True, help="Print all rows of long tables.")
    json: bool = option(is_flag=True, help="Print one JSON object instead of tables.")
    backend: str | None = option(
        type=click.Choice(BACKENDS),
        help="Keras backend.  [default: KERAS_BACKEND, else tensorflow]",
    )
    seed: int = option(
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        help="Seed of all random numbers.",
    )
    modules: tuple[str, ...] = option(
        "--import",
        multiple=True,
        metavar="MODULE[:FUNCTION]",
        help="Import a module that registers custom layers. Can be repeated. With MODULE:FUNCTION,"
        " that function builds the model that a file of weights belongs to.",
    )
    allow_unsafe: bool = option(
        is_flag=True,
        help="Run Python code stored in model files, such as Lambda layers. Only for files that you"
        " trust like a program.",
    )
    debug: bool = option(
        is_flag=True,
        callback=set_debug,
        help="Show tracebacks and everything that the libraries print.",
    )

    def load_model(self, name: ModelName) -> Any:
        """Return the model of a name; what its package prints goes to standard error."""
        from keras_prelu.data.functions import named_function
        from keras_prelu.io.loading import load_model

        builders = [named_function(each) for each in self.modules if ":" in each]
        with contextlib.redirect_stdout(sys.stderr):
            return load_model(
                name, allow_unsafe=self.allow_unsafe, build=builders[-1] if builders else None
            )

    def load_loss(self, name: str | None) -> Any:
        """Return the loss that --loss names, or None without the option."""
        from keras_prelu.data.losses import named_loss

        return None if name is None else named_loss(name)

    def load_metric(self, name: str | None) -> Any:
        """Return the metric that --metric names: a name, or an object for `module:name`."""
        from keras_prelu.training.named_settings import own_object

        return own_object(name, "metric") if name is not None and ":" in name else name


def session_options(function: Callback) -> Callback:
    """Add the options of every command to a command.

    The command is called with them as `session=` after Keras has been started.
    """

    @config_option
    @option_group("session", SessionOptions)
    @functools.wraps(function)
    def command(*args: Any, session: SessionOptions, **kwargs: Any) -> None:
        with keras_session(
            backend=session.backend,
            seed=session.seed,
            modules=[each.partition(":")[0] for each in session.modules],
            debug=session.debug,
        ):
            function(*args, session=session, **kwargs)

    return command
