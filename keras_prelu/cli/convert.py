"""`keras-prelu convert`: a trained ReLU model becomes a PReLU model."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.calibration import CalibrationOptions, check_outputs, print_calibration, print_search, store_calibration
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
def command(
    model: Path,
    output: Path | None,
    source: str | None,
    force: bool,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: Session,
) -> None:
    """Turn MODEL (a .keras or .h5 file) into a PReLU model, written beside it. MODEL itself is not touched.

    With --data the layers are calibrated: refitted on unlabeled samples, so that the model computes what it did.

    \b
    Examples:
      keras-prelu convert model.keras --data samples.npz
      keras-prelu convert model.keras --data samples.npz --alpha auto
      keras-prelu convert model.keras --alpha 0 --parameterization identity
    """
    from keras_prelu.cli.output import print_json
    from keras_prelu.diagnostics.slopes import slopes
    from keras_prelu.files import beside, check_output, load_model, save_model

    if source and conversion.rescale in ("none", "analytic", "moments"):
        raise click.UsageError(f"--rescale {conversion.rescale} does not use --data. Leave one of them out.")
    output = output or beside(model, "prelu")
    original = load_model(model, allow_unsafe=session.allow_unsafe)
    (check_outputs if source else check_output)(output, force=force)
    samples = load_data(source, original).train if source else None
    result = convert_with(original, conversion, calibration, session, samples)
    save_model(result.model, output, force=force)
    if result.calibration is not None:
        store_calibration(result.calibration, output, force=force)
    layers = slopes(result.model)
    if session.json:
        print_json({"model": model, "output": output, "layers": layers, "calibration": result.calibration, "slope_search": result.search})
        return
    if result.calibration is not None:
        print_calibration(result.calibration)
    if result.search is not None:
        print_search(result.search)
    click.echo(f"Wrote {output}: {len(layers)} PReLU layers, {sum(layer.count for layer in layers):,} slopes.")
    if result.calibration is None:
        click.echo(f"Initial slopes: {min(layer.minimum for layer in layers):g} to {max(layer.maximum for layer in layers):g}.")
