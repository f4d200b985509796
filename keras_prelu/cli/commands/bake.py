"""`keras-prelu bake`: write a converted model with stock Keras layers."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.options.files import (
    force_option,
    model_argument,
    output_option,
    prune_option,
)
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("bake")
@model_argument
@output_option("MODEL.stock.keras")
@force_option
@click.option(
    "--fold-batch-normalization",
    "fold",
    is_flag=True,
    help="Fold BatchNormalization into the preceding layer.",
)
@prune_option
@session_options
def command(
    model: ModelName,
    output: Path | None,
    force: bool,
    fold: bool,
    prune: float,
    session: SessionOptions,
) -> None:
    """Write a converted MODEL with stock Keras layers only, so that it loads without keras_prelu.
    MODEL itself is not changed. A subclassed model becomes a functional one.

    \b
    Example:
      keras-prelu bake model.prelu.keras --fold-batch-normalization
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.sample_records import carry_record, check_carried_record
    from keras_prelu.conversion.bake import bake
    from keras_prelu.diagnostics.slopes import layer_slopes
    from keras_prelu.io.model_files import check_output, save_model
    from keras_prelu.io.model_names import beside

    output = output or beside(model, "stock")
    converted = session.load_model(model)
    check_output(output, force=force)
    check_run_file(output)
    check_carried_record(model, output, force=force)
    baked = bake(converted, fold_batch_normalization=fold, prune=prune)
    save_model(baked, output, force=force)
    carry_record(model, output, force=force)
    write_run_file(output)
    slopes = layer_slopes(converted)
    largest = {each.path: max(abs(each.minimum), abs(each.maximum)) for each in slopes}
    pruned = sum(slope <= prune for slope in largest.values())
    if session.json:
        record = {"model": model, "output": output, "parameters": baked.count_params()}
        print_json({**record, "pruned": pruned})
        return
    if prune:
        echo(f"{pruned} of {len(largest)} PReLU layers became ReLU.")
        if largest and not pruned:
            path = min(largest, key=lambda path: largest[path])
            echo(f"The smallest slopes are those of '{path}', up to {largest[path]:.2g}.")
    echo(f"Wrote {output}.")
