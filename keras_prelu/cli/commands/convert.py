"""`keras-prelu convert`: a trained ReLU model becomes a PReLU model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.calibration import (
    CalibrationOptions,
    check_outputs,
    print_calibration,
    print_search,
    store_calibration,
)
from keras_prelu.cli.conversion import (
    ConversionOptions,
    Converted,
    conversion_options,
    convert_with,
)
from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options
from keras_prelu.cli.tuning import TuningOptions, labelled_data, print_tuning, tune_with

__all__ = ["command"]


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.prelu.keras beside MODEL]",
)
@data_options("Samples to calibrate with", required=False)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option(
    "--finetune",
    "finetunes",
    is_flag=True,
    help="Go on to fine-tune it beside a ReLU control, and judge.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Passes over the samples, for --finetune.",
)
@conversion_options
@session_options
def command(
    model: Path,
    output: Path | None,
    data: DataOptions,
    force: bool,
    finetunes: bool,
    epochs: int,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: Session,
) -> None:
    """Turn MODEL (a .keras or .h5 file) into a PReLU model, written beside it. MODEL itself is not
    touched.

    With --data the layers are calibrated: refitted on unlabeled samples, so that the model computes
    what it did. With --finetune, and labels, it goes on to train: OUTPUT.finetuned.keras, and a
    verdict from samples that nothing else saw.

    \b
    Examples:
      keras-prelu convert model.keras --data samples.npz
      keras-prelu convert model.keras --data samples.npz --alpha auto
      keras-prelu convert model.keras --data samples.npz --finetune
      keras-prelu convert model.keras --alpha 0 --parameterization identity
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.diagnostics.slopes import layer_slopes
    from keras_prelu.io.model_files import beside, check_output, load_model, save_model

    if data.source and conversion.rescale in ("none", "analytic", "moments") and not finetunes:
        raise click.UsageError(
            f"--rescale {conversion.rescale} does not use --data. Leave one of them out."
        )
    if finetunes and not data.source:
        raise click.UsageError("--finetune needs --data with labels.")
    output = output or beside(model, "prelu")
    tuned = beside(output, "finetuned")
    original = load_model(model, allow_unsafe=session.allow_unsafe)
    (check_outputs if data.source else check_output)(output, force=force)
    if finetunes:
        check_output(tuned, force=force)
    dataset = data.load(original) if data.source else None
    train, validation = (
        labelled_data(dataset, session) if finetunes else (dataset.train if dataset else None, None)
    )
    result = convert_with(original, conversion, calibration, session, train)
    save_model(result.model, output, force=force)
    if result.calibration is not None:
        store_calibration(result.calibration, output, force=force)
    layers = layer_slopes(result.model)
    if not session.json:
        _print_converted(result, output, layers)
    tuning = None
    if finetunes:
        tuning = tune_with(
            result.model, original, train, validation, TuningOptions(epochs), session
        )
        save_model(tuning.model, tuned, force=force)
    if session.json:
        record = {
            "model": model,
            "output": output,
            "layers": layers,
            "calibration": result.calibration,
            "slope_search": result.search,
        }
        print_json(
            record
            if tuning is None
            else {**record, "finetuned": tuned, "verdict": tuning.verdict, "result": tuning}
        )
    elif tuning is not None:
        click.echo()
        print_tuning(tuning)
        click.echo(f"Wrote {tuned}.")


def _print_converted(result: Converted, output: Path, layers: Sequence[Any]) -> None:
    if result.calibration is not None:
        print_calibration(result.calibration)
    if result.search is not None:
        print_search(result.search)
    count = sum(layer.count for layer in layers)
    click.echo(
        f"Wrote {output}: {len(layers)} PReLU layer{'' if len(layers) == 1 else 's'}, {count:,}"
        " slopes."
    )
    if result.calibration is None:
        click.echo(
            f"Initial slopes: {min(layer.minimum for layer in layers):g} to"
            f" {max(layer.maximum for layer in layers):g}."
        )
