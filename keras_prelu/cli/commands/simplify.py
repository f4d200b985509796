"""`keras-prelu simplify`: one slope a layer and no idle caps, for faster inference."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.options.calibration import CalibrationOptions, calibration_options
from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import force_option, model_argument, output_option
from keras_prelu.cli.options.numbers import POSITIVE, number_option
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("simplify")
@model_argument
@data_options("Unlabelled samples")
@output_option("MODEL.simplified.keras")
@force_option
@number_option(
    "--tolerance",
    POSITIVE,
    default=0.01,
    help="Change of the outputs that is allowed: mean square over their variance, on held-out"
    " samples.",
)
@calibration_options
@session_options
def command(
    model: ModelName,
    data: DataOptions,
    output: Path | None,
    force: bool,
    tolerance: float,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> None:
    """Give each PReLU layer of MODEL one slope, and remove caps that cut off next to nothing, where
    the outputs change by less than the tolerance. The layers in between are refitted. MODEL itself
    is not changed.

    Such a network is faster in most runtimes. The option --profile deployment of convert makes one
    from the start.

    \b
    Example:
      keras-prelu simplify model.prelu.keras --data samples.npz
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.progress import progress
    from keras_prelu.cli.sample_records import carry_record, check_carried_record
    from keras_prelu.cli.tables import number, print_table
    from keras_prelu.conversion.simplify import simplify
    from keras_prelu.io.model_files import check_output, save_model
    from keras_prelu.io.model_names import beside

    output = output or beside(model, "simplified")
    loaded = session.load_model(model)
    check_output(output, force=force)
    check_run_file(output)
    check_carried_record(model, output, force=force)
    samples = data.load(loaded).train
    with progress("Simplifying"):
        result = simplify(
            loaded,
            samples,
            tolerance=tolerance,
            max_samples=calibration.samples,
            memory_limit=calibration.memory_limit,
            seed=session.seed,
        )
    save_model(result.model, output, force=force)
    carry_record(model, output, force=force)
    write_run_file(output)
    if session.json:
        print_json({"model": model, "output": output, "simplification": result})
        return
    print_table(
        "PReLU layers, and why slopes or caps were kept",
        ["layer", "slopes", "one slope", "cap", "kept"],
        [
            [
                layer.path,
                layer.slopes,
                number(layer.slope),
                "removed" if layer.uncapped else number(layer.max_value),
                layer.reason or "–",
            ]
            for layer in result.layers
        ],
        right=["slopes", "one slope"],
        worst=[layer.reason != "" for layer in result.layers],
    )
    echo(
        "Change of the outputs on held-out samples, relative to their variance:"
        f" {number(result.error)} (allowed: {number(result.tolerance)})."
    )
    echo(f"Wrote {output}.")
