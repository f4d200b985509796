"""`keras-prelu calibrate`: refit a converted model to the outputs of its original."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.calibration import CalibrationOptions, calibration_options
from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import (
    force_option,
    model_argument,
    original_option,
    output_option,
)
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("calibrate")
@model_argument
@original_option(required=True)
@data_options("Unlabelled samples")
@output_option("MODEL.calibrated.keras")
@force_option
@click.option("--refit-frozen", is_flag=True, help="Also refit layers that are not trainable.")
@calibration_options
@session_options
def command(
    model: ModelName,
    original: ModelName,
    data: DataOptions,
    output: Path | None,
    force: bool,
    refit_frozen: bool,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> None:
    """Refit the layers of a converted MODEL so that its outputs match those of its ORIGINAL.
    Neither file is changed.

    If DATA has labels, the metrics that ORIGINAL is compiled with are printed before and after.
    The calibration record is stored beside the output, as OUTPUT.calibration.json.

    \b
    Example:
      keras-prelu calibrate model.prelu.keras --original model.keras --data samples.npz
    """
    from keras_prelu.calibration.verification import large_error_note
    from keras_prelu.cli.console import print_json, print_shown
    from keras_prelu.cli.conversion_scores import conversion_scores
    from keras_prelu.cli.records import check_outputs, write_calibration
    from keras_prelu.cli.runners import calibrate_model
    from keras_prelu.cli.sample_records import carry_record, check_carried_record
    from keras_prelu.io.model_files import save_model
    from keras_prelu.io.model_names import beside

    output = output or beside(model, "calibrated")
    converted = session.load_model(model)
    relu = session.load_model(original)
    check_outputs(output, force=force)
    check_run_file(output)
    check_carried_record(model, output, force=force)
    _check_converted(model, converted)
    dataset = data.load(relu)
    result = calibrate_model(
        converted, relu, dataset.train, calibration, session, refit_frozen=refit_frozen
    )
    scores = conversion_scores(
        original,
        relu,
        converted,
        dataset,
        calibrated_with=calibration.samples,
        seed=session.seed,
    )
    save_model(converted, output, force=force)
    write_calibration(result, scores, output, force=force)
    carry_record(model, output, force=force)
    write_run_file(output)
    if session.json:
        note = large_error_note(result)
        record = {"model": model, "output": output, "calibration": result, "note": note}
        print_json({**record, "scores": scores})
        return
    print_shown(result)
    echo(f"Wrote {output}.")
    if scores is not None:
        scores.print(str(data.source), str(original), str(output))


def _check_converted(path: ModelName, model: Any) -> None:
    """Raise a usage error for a model in which nothing was converted."""
    from keras_prelu.sites.finder import find_sites

    if all(site.negative_slope == 0 for site in find_sites(model)):
        raise click.UsageError(
            f"{path} has no PReLU layers, so there is nothing to calibrate. Convert it first:"
            f" keras-prelu convert {shlex.quote(str(path))} --data DATA."
        )
