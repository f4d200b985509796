"""The `keras-prelu` command, a group that imports a command only when it is called."""

from __future__ import annotations

import importlib

import click

from keras_prelu.cli.errors import errors_on_one_line
from keras_prelu.utils.suggestions import did_you_mean
from keras_prelu.version import __version__

__all__ = ["main"]

# These lines are not read from the commands, so that `keras-prelu --help` imports none of them.
COMMANDS = {
    "demo": "Train, convert and fine-tune a small network on bundled data.",
    "inspect": "List the ReLUs of a model and which of them can be converted.",
    "convert": "Convert a trained ReLU model into a PReLU model.",
    "calibrate": "Refit a converted model to the outputs of its original.",
    "finetune": "Convert and fine-tune a model beside a ReLU control, and compare them.",
    "compare": "Test whether one model is better than another.",
    "diagnose": "Find what is wrong with a network, and what to do about it.",
    "evaluate": "Evaluate a model on labelled samples.",
    "equalize": "Equalize the channel ranges of adjacent layers for int8.",
    "simplify": "Give each layer one slope and no idle cap, for faster inference.",
    "report": "Write an HTML report on a conversion.",
    "bake": "Write a converted model with stock Keras layers.",
    "export": "Export a model to another runtime, and check it there.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"keras_prelu.cli.commands.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not (ctx.resilient_parsing or name.startswith("-")):
            meant = did_you_mean(name, COMMANDS)
            raise click.UsageError(f"No such command '{name}'.{meant}", ctx)
        for argument in args:
            try:
                argument.encode("utf-8")
            except UnicodeEncodeError:  # Records and run files could not hold it.
                raise click.UsageError(
                    f"'{argument}' is not a name in UTF-8. Rename the file.", ctx
                ) from None
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        with errors_on_one_line(ctx):
            return super().invoke(ctx)


@click.group(
    "keras-prelu", cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="keras-prelu")
def main() -> None:
    """Convert a trained Keras 3 ReLU network into a PReLU network with the same outputs, fine-tune
    it, and get a statistically tested verdict on whether it helped.

    MODEL is a .keras or .h5 file, a folder of Keras or KerasHub, applications:NAME,
    keras_hub:PRESET, hf://USER/MODEL, or a file of weights with --import MODULE:FUNCTION.

    DATA is 'digits' (bundled), a file FILE.npz with arrays x and y, a table FILE.csv or
    FILE.parquet, dir:FOLDER with images or text:FOLDER with texts in one subfolder per class,
    tfds:NAME[:SPLIT], a stored data set tfdata:FOLDER or hf:FOLDER, or module:function, a function
    of yours that returns (x, y).
    """
