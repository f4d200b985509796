"""`keras-prelu finetune`: fine-tune a PReLU model and its ReLU control, and compare them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from keras_prelu.cli.options.calibration import CalibrationOptions, calibration_options
from keras_prelu.cli.options.conversion import (
    BESIDES_SITES,
    ConversionOptions,
    given_conversion_option,
    prelu_options,
    refuse_conversion_options,
)
from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import (
    force_option,
    model_argument,
    original_option,
    output_option,
)
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.options.training import TrainingOptions, training_options
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("finetune")
@model_argument
@data_options("Labelled samples")
@original_option(required=False)
@output_option("MODEL.finetuned.keras")
@force_option
@training_options
@prelu_options
@calibration_options
@session_options
def command(
    model: ModelName,
    original: ModelName | None,
    output: Path | None,
    force: bool,
    data: DataOptions,
    training: TrainingOptions,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> None:
    """Fine-tune MODEL with PReLU and a ReLU control with the same budget, and test which of them is
    better.

    MODEL is a ReLU model, with no `convert` before: --recipe says how it is converted, and auto
    tries several ways, on all sites or those of --include and --exclude. With other options of the
    conversion, such as --alpha, it is converted as they say. A MODEL that is converted already
    needs --original for the control, or --no-control.

    Scores are measured on the test samples of DATA, or on a fifth of the samples, which is held
    out. The control and a record of the samples are written beside the model. The exit status is 4
    if fine-tuning made the model worse than the file that came in, or than --original if that one
    is better.

    \b
    Examples:
      keras-prelu finetune model.keras --data digits
      keras-prelu finetune model.keras --data digits --budget 5x
      keras-prelu finetune model.keras --data digits --recipe relu-revived
      keras-prelu finetune model.keras --data digits --include head
      keras-prelu finetune model.prelu.keras --original model.keras --data samples.npz
    """
    from keras_prelu.cli.console import print_json, print_shown
    from keras_prelu.cli.drawn_samples import split_labelled
    from keras_prelu.cli.exit_statuses import WORSE
    from keras_prelu.cli.finetuned_files import (
        check_finetuned_outputs,
        write_finetuned,
    )
    from keras_prelu.cli.finetuning import finetune_model
    from keras_prelu.cli.runners import convert_model
    from keras_prelu.io.model_names import beside
    from keras_prelu.sites.prelu_layers import has_prelu_layers
    from keras_prelu.training.named_settings import named_settings

    if training.recipe:
        refuse_conversion_options("--recipe says how MODEL is converted", BESIDES_SITES)
    conversion.check(has_data=True)
    named_settings(dataclasses.asdict(training))  # Refuses mistyped names before any work is done.
    output = output or beside(model, "finetuned")
    loaded = session.load_model(model)
    is_converted = has_prelu_layers(loaded)
    if not (is_converted or training.recipe or given_conversion_option(BESIDES_SITES)):
        training = dataclasses.replace(training, recipe="auto")
    training.check()
    is_converted_here = not is_converted and not training.recipe
    check_finetuned_outputs(
        output, control=training.control, force=force, converted=is_converted_here
    )
    check_run_file(output)
    train, validation = split_labelled(
        data.load(loaded), loaded, session, [model] if original is None else [model, original]
    )
    if original is not None and not is_converted:
        raise click.UsageError(
            f"--original is for a converted model, and {model} has no PReLU layers. Leave it out."
        )
    if is_converted:
        _check_converted(model, original, training)
        trained, relu = loaded, session.load_model(original) if original else None
    elif training.recipe:
        trained, relu = loaded, None
    else:
        relu = loaded
        trained = convert_model(relu, train, conversion, calibration, session).model
    result = finetune_model(
        trained,
        train,
        validation,
        relu,
        training,
        session,
        sites=conversion if training.recipe else None,
        group=output.stem,
    )
    files = write_finetuned(
        result,
        output,
        original=model if is_converted_here else original,
        converted=trained if is_converted_here else model,
        train=train,
        validation=validation,
        force=force,
    )
    write_run_file(files.output)
    if session.json:
        record = {"model": model, "output": files.output, "files": files}
        print_json({**record, "verdict": result.verdict, "best": result.best, "result": result})
    else:
        print_shown(result)
        files.print()
    if result.is_worse_than_incoming:
        click.get_current_context().exit(WORSE)


def _check_converted(
    model: ModelName, original: ModelName | None, training: TrainingOptions
) -> None:
    """Raise a usage error for options that a converted model cannot be fine-tuned with."""
    refuse_conversion_options(f"{model} is already converted")
    if training.recipe:
        raise click.UsageError(
            f"{model} is already converted, and --recipe starts from the ReLU model."
        )
    if training.control and original is None:
        raise click.UsageError(
            f"{model} is already converted: give --original for the control, or --no-control."
        )
