"""The options that name a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.options.groups import Decorator, option, option_group

__all__ = ["DataOptions", "data_options"]

_SOURCES = "digits, FILE.npz, dir:FOLDER, tfds:NAME[:SPLIT] or module:function"


@dataclass(frozen=True)
class DataOptions:
    """The source of the samples.

    Attributes:
        source: String or None. The source, as `keras_prelu.data.load` takes it; None if the command
            was called without --data.
        preprocess: String or None. The function that prepares the samples, as "module:function".
    """

    source: str | None = option("--data", metavar="DATA")
    preprocess: str | None = option(
        "--preprocess",
        metavar="MODULE:FUNCTION",
        help="Function of yours that is applied to the samples first.",
    )

    def __post_init__(self) -> None:
        if self.preprocess and not self.source:
            raise click.UsageError("--preprocess needs --data.")

    def load(self, model: Any) -> Any:
        """Return the data set, shaped for the model if the source offers several shapes."""
        from keras_prelu.data.sources import load

        assert self.source is not None
        shape = model.inputs[0].shape[1:] if len(model.inputs) == 1 else None
        return load(self.source, input_shape=shape, preprocess=self.preprocess)


def data_options(purpose: str, *, required: bool = True) -> Decorator:
    """Return a decorator that adds --data and --preprocess to a command.

    The command receives both as `data`.

    Args:
        purpose: String. The use of the samples; the help of --data begins with it.
        required: Boolean. Whether the command needs --data. Defaults to True.
    """
    source = {"required": required, "help": f"{purpose}: {_SOURCES}."}
    return option_group("data", DataOptions, source=source)
