"""`keras-prelu equalize`: equalize the channel ranges of adjacent layers for int8."""

from __future__ import annotations

import math
from pathlib import Path

import click

from keras_prelu.cli.options.files import force_option, model_argument, output_option
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("equalize")
@model_argument
@output_option("MODEL.equalized.keras")
@force_option
@session_options
def command(model: ModelName, output: Path | None, force: bool, session: SessionOptions) -> None:
    """Equalize the channel ranges of adjacent layers, as per-tensor int8 quantization needs it. The
    outputs stay the same, and MODEL itself is not changed.

    \b
    Example:
      keras-prelu equalize model.prelu.keras
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.sample_records import carry_record, check_carried_record
    from keras_prelu.cli.tables import number, print_table
    from keras_prelu.io.model_files import check_output, save_model
    from keras_prelu.io.model_names import beside
    from keras_prelu.scaling.equalize import equalize

    output = output or beside(model, "equalized")
    equalized = session.load_model(model)
    check_output(output, force=force)
    check_run_file(output)
    check_carried_record(model, output, force=force)
    groups = equalize(equalized)
    save_model(equalized, output, force=force)
    carry_record(model, output, force=force)
    write_run_file(output)
    if session.json:
        print_json({"model": model, "output": output, "groups": groups})
        return

    def spread(value: float) -> str:
        return "–" if math.isnan(value) else number(value, 3)

    print_table(
        "Spread of the channel ranges: the largest over the smallest",
        ["producers", "consumers", "channels", "before", "after", "action"],
        [
            [
                ", ".join(group.producers),
                ", ".join(group.consumers),
                group.channels,
                spread(group.spread_before),
                spread(group.spread_after),
                group.action,
            ]
            for group in groups
        ],
        right=["channels", "before", "after"],
        worst=[group.spread_after for group in groups],
    )
    echo(f"Wrote {output}.")
