"""The options that name a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.options.groups import Decorator, option, option_group
from keras_prelu.cli.options.parameter_types import Factor
from keras_prelu.cli.output import echo

__all__ = ["DataOptions", "data_options"]

_SOURCES = (
    "digits, FILE.npz, FILE.csv, FILE.parquet, dir:FOLDER of images, text:FOLDER,"
    " tfds:NAME[:SPLIT], tfdata:FOLDER, hf:FOLDER or module:function"
)


@dataclass(frozen=True)
class DataOptions:
    """The source of the samples.

    Attributes:
        source: String or None. The source, as `keras_prelu.data.load` takes it; None if the command
            was called without --data.
        label: Tuple of strings. The columns or arrays that hold labels.
        preprocess: String or None. The function that prepares the samples, as "module:function".
        scale: Float or None. The factor that all samples are multiplied by.
    """

    source: str | None = option("--data", metavar="DATA")
    label: tuple[str, ...] = option(
        metavar="COLUMN",
        multiple=True,
        help="Column of a table, or array of a .npz file, that holds the labels; once for each"
        " output. Text becomes class numbers.  [default: label or labels; y too in .npz files]",
    )
    preprocess: str | None = option(
        metavar="MODULE:FUNCTION",
        help="Function of yours that is applied to the samples first.",
    )
    scale: float | None = option(
        type=Factor(),
        help="Factor that the samples are multiplied by, before --preprocess. Pixels of dir:FOLDER"
        " are from 0 to 255; --scale 1/255 makes them 0 to 1.",
    )

    def __post_init__(self) -> None:
        needing = {"--label": self.label or None, "--preprocess": self.preprocess}
        for name, value in {**needing, "--scale": self.scale}.items():
            if value is not None and not self.source:
                raise click.UsageError(f"{name} needs --data.")

    def load(self, model: Any) -> Any:
        """Return the data set, shaped for the model if the source offers several shapes.

        A line on standard error says what was read: numbers, shapes, types, ranges and classes.
        """
        from keras_prelu.data.column_check import check_columns
        from keras_prelu.data.declarations import expected_shape, input_names, output_names
        from keras_prelu.data.sources import load
        from keras_prelu.data.summary import summary

        assert self.source is not None
        dataset = load(
            self.source,
            input_shape=expected_shape(model),
            input_names=input_names(model),
            output_names=output_names(model),
            label=self.label,
            preprocess=self.preprocess,
            scale=self.scale,
        )
        if self.source != "digits":  # What these are is known.
            echo(f"Read {summary(dataset)}", err=True)
        if self.preprocess is None:  # Which may bring the columns into any shape.
            check_columns(dataset, model)
        return dataset

    def load_labelled(self, model: Any) -> Any:
        """Return the data set as `load` does, after checking that its last part has labels.

        Raises:
            DataError: The test samples, or the samples of a data set without any, have no labels.
        """
        from keras_prelu.data.column_check import check_labelled

        dataset = self.load(model)
        check_labelled(dataset, dataset.test or dataset.train, model)
        return dataset


def data_options(purpose: str, *, required: bool = True) -> Decorator:
    """Return a decorator that adds --data, --label, --preprocess and --scale to a command.

    The command receives them as `data`.

    Args:
        purpose: String. The use of the samples; the help of --data begins with it.
        required: Boolean. Whether the command needs --data. Defaults to True.
    """
    source = {"required": required, "help": f"{purpose}: {_SOURCES}."}
    return option_group("data", DataOptions, source=source)
