"""The `keras-prelu` command: a group that imports a command when it is called."""

from __future__ import annotations

import importlib

import click

from keras_prelu.version import __version__

__all__ = ["main"]

# The help is here, not read from the commands, so that `keras-prelu --help` imports none of them.
COMMANDS = {
    "demo": "Train, convert, fine-tune and judge a small network, to see what this does.",
    "inspect": "List the ReLUs of a model, and which of them can be converted.",
    "convert": "Turn a trained ReLU model into a PReLU model that still works.",
    "calibrate": "Refit a converted model to what its original computes.",
    "finetune": "Fine-tune a model with PReLU beside its ReLU control, and judge.",
    "compare": "Say whether one model is better than another.",
    "diagnose": "Say what is wrong with a network, and what to do about it.",
    "evaluate": "Measure a model on labelled samples.",
    "equalize": "Make the channels of adjacent layers alike in size, for int8.",
    "report": "Write one HTML page about a conversion: verdict, slopes, dead units, signal, cost.",
    "bake": "Write a converted model as stock Keras layers.",
    "export": "Write a model for another runtime, and check it there.",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"keras_prelu.cli.commands.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        from keras_prelu.cli.errors import reported

        with reported(ctx):
            return super().invoke(ctx)


@click.group(
    "keras-prelu", cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="keras-prelu")
def main() -> None:
    """Turn a trained ReLU network into a PReLU network that still works, fine-tune it, and hear
    honestly whether that was worth it.

    DATA is 'digits' (bundled), a file FILE.npz with arrays x and y, dir:FOLDER with images in a
    subfolder for each class, tfds:NAME[:SPLIT], or module:function, a function of yours that
    returns (x, y).
    """


if __name__ == "__main__":
    main()
