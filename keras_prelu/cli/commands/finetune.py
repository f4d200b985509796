"""`keras-prelu finetune`: PReLU beside its ReLU control, and a verdict."""

from __future__ import annotations

from pathlib import Path

import click

from keras_prelu.cli.calibration import CalibrationOptions
from keras_prelu.cli.conversion import (
    ConversionOptions,
    conversion_options,
    convert_with,
    refuse_conversion_options,
)
from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options
from keras_prelu.cli.tuning import (
    TuningOptions,
    labelled_data,
    print_tuning,
    tune_with,
    tuning_options,
)

__all__ = ["command"]


@click.command("finetune")
@click.argument("model", type=click.Path(path_type=Path))
@data_options("Labelled samples")
@click.option(
    "--original",
    type=click.Path(path_type=Path),
    help="The ReLU model that a converted MODEL was made from.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.finetuned.keras beside MODEL]",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@tuning_options
@conversion_options
@session_options
def command(
    model: Path,
    original: Path | None,
    output: Path | None,
    force: bool,
    data: DataOptions,
    tuning: TuningOptions,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: Session,
) -> None:
    """Fine-tune MODEL with PReLU beside an equally fine-tuned ReLU control, and say whether PReLU
    was worth it.

    A ReLU MODEL is converted and calibrated first, or made ready by --recipe; a converted one needs
    --original for the control, or
    --no-control. Scores come from the data's test samples, or from a fifth of the samples that is
    held out.

    \b
    Examples:
      keras-prelu finetune model.keras --data digits --recipe auto --budget 3x
      keras-prelu finetune model.keras --data digits --recipe relu-revived
      keras-prelu finetune model.prelu.keras --original model.keras --data samples.npz
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.diagnostics.slopes import layer_slopes
    from keras_prelu.io.model_files import beside, check_output, load_model, save_model

    if tuning.recipe:
        refuse_conversion_options("--recipe says how MODEL is converted")
    output = output or beside(model, "finetuned")
    given = load_model(model, allow_unsafe=session.allow_unsafe)
    check_output(output, force=force)
    train, validation = labelled_data(data.load(given), session)
    if layer_slopes(given):
        refuse_conversion_options(f"{model} is converted already")
        if tuning.recipe:
            raise click.UsageError(
                f"{model} is converted already: --recipe starts from the ReLU model."
            )
        if tuning.control and original is None:
            raise click.UsageError(
                f"{model} is converted already: give --original for the control, or --no-control."
            )
        relu, prelu = (
            load_model(original, allow_unsafe=session.allow_unsafe) if original else None,
            given,
        )
    elif tuning.recipe:
        relu, prelu = given, given
    else:
        relu, prelu = given, convert_with(given, conversion, calibration, session, train).model
    result = tune_with(prelu, relu, train, validation, tuning, session)
    save_model(result.model, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "verdict": result.verdict, "result": result})
        return
    print_tuning(result)
    click.echo(f"Wrote {output}.")
