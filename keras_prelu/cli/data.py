"""The options that say which data a command works on, and loading it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

__all__ = ["DataOptions", "data_options"]

KINDS = "digits, FILE.npz, dir:FOLDER, tfds:NAME[:SPLIT] or module:function"


@dataclass(frozen=True)
class DataOptions:
    """The options as given: where the data comes from, or None, and the function that prepares
    it."""

    source: str | None
    preprocess: str | None

    def load(self, model: Any) -> Any:
        """The data set, shaped for the model where it comes in several shapes."""
        from keras_prelu.data.sources import load

        assert self.source is not None
        shape = model.inputs[0].shape[1:] if len(model.inputs) == 1 else None
        return load(self.source, input_shape=shape, preprocess=self.preprocess)


def data_options(
    text: str, *, required: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --data, with what it is for as help, and --preprocess to a command, which is called with
    `data=`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--data", "source", metavar="DATA", required=required, help=f"{text}: {KINDS}."
        )
        @click.option(
            "--preprocess",
            metavar="MODULE:FUNCTION",
            help="A function of your own that the samples go through first.",
        )
        @functools.wraps(function)
        def command(*args: Any, source: str | None, preprocess: str | None, **kwargs: Any) -> None:
            if preprocess and not source:
                raise click.UsageError("--preprocess needs --data.")
            function(*args, data=DataOptions(source, preprocess), **kwargs)

        return command

    return decorate
