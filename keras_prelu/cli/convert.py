"""`keras-prelu convert`: a trained ReLU model becomes a PReLU model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.conversion import ConversionOptions, conversion_options, convert_with, load_data
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: MODEL.prelu.keras beside MODEL]")
@click.option("--data", "source", metavar="DATA", help="Samples to calibrate with: digits, FILE.npz or tfds:NAME[:SPLIT].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@conversion_options
@session_options
def command(model: Path, output: Path | None, source: str | None, force: bool, conversion: ConversionOptions, session: Session) -> None:
    """Turn MODEL (a .keras or .h5 file) into a PReLU model, written beside it. MODEL itself is not touched.

    With --data the layers are calibrated: refitted on unlabeled samples, so that the model computes what it did.

    \b
    Examples:
      keras-prelu convert model.keras --data samples.npz
      keras-prelu convert model.keras --alpha 0 --parameterization identity
    """
    from keras_prelu.cli.output import print_json
    from keras_prelu.diagnostics.slopes import slopes
    from keras_prelu.files import beside, check_output, load_model, save_model

    if source and conversion.rescale in ("none", "analytic", "moments"):
        raise click.UsageError(f"--rescale {conversion.rescale} does not use --data. Leave one of them out.")
    output = output or beside(model, "prelu")
    original = load_model(model, allow_unsafe=session.allow_unsafe)
    check_output(output, force=force)
    samples = load_data(source, original).train if source else None
    converted, calibration = convert_with(original, conversion, session, samples)
    save_model(converted, output, force=force)
    layers = slopes(converted)
    if session.json:
        print_json({"model": model, "output": output, "layers": layers, "calibration": calibration})
        return
    if calibration is not None:
        _print_calibration(calibration)
    click.echo(f"Wrote {output}: {len(layers)} PReLU layers, {sum(layer.count for layer in layers):,} slopes.")
    if calibration is None:
        click.echo(f"Initial slopes: {min(layer.minimum for layer in layers):g} to {max(layer.maximum for layer in layers):g}.")


def _print_calibration(calibration: Any) -> None:
    from keras_prelu.cli.output import number, print_table

    print_table(
        f"Calibration on {calibration.samples} samples, {calibration.held_out} of them held out; errors relative to the output's variance",
        ["layer", "class", "rows", "unknowns", "ridge", "before", "after", "action"],
        [
            [
                record.path,
                record.layer,
                str(record.rows),
                str(record.unknowns),
                number(record.ridge),
                number(record.error_before),
                number(record.error_after),
                record.action,
            ]
            for record in calibration.layers
        ],
        right=["rows", "unknowns", "ridge", "before", "after"],
    )
    click.echo(f"Error of the model's output on held-out samples: {number(calibration.error_before)} → {number(calibration.error_after)}")
    if not calibration.kept:
        click.echo("The refit was no better than none on held-out samples; the weights are the original's.")
