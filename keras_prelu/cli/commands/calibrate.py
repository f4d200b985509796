"""`keras-prelu calibrate`: a converted model refitted to what its original computes."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.calibration import (
    CalibrationOptions,
    calibration_options,
    check_outputs,
    print_calibration,
    store_calibration,
)
from keras_prelu.cli.conversion import calibrate_with
from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("calibrate")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--original",
    type=click.Path(path_type=Path),
    required=True,
    help="The ReLU model that MODEL was made from.",
)
@data_options("Unlabeled samples")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.calibrated.keras beside MODEL]",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--refit-frozen", is_flag=True, help="Refit layers that are not trainable too.")
@calibration_options
@session_options
def command(
    model: Path,
    original: Path,
    data: DataOptions,
    output: Path | None,
    force: bool,
    refit_frozen: bool,
    calibration: CalibrationOptions,
    session: Session,
) -> None:
    """Refit the layers of MODEL, a converted one, so that it computes what its ORIGINAL computes.
    Neither file is touched.

    The record is stored beside the output, as OUTPUT.calibration.json.

    \b
    Example:
      keras-prelu calibrate model.prelu.keras --original model.keras --data samples.npz
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.io.model_files import beside, load_model, save_model

    output = output or beside(model, "calibrated")
    converted, relu = (
        load_model(path, allow_unsafe=session.allow_unsafe) for path in (model, original)
    )
    check_outputs(output, force=force)
    samples = data.load(relu).train
    record = calibrate_with(
        converted, relu, samples, calibration, session, refit_frozen=refit_frozen
    )
    save_model(converted, output, force=force)
    store_calibration(record, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "calibration": record})
        return
    print_calibration(record)
    click.echo(f"Wrote {output}.")
