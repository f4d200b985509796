"""`keras-prelu convert`: convert a trained ReLU model into a PReLU model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.calibration import CalibrationOptions, calibration_options
from keras_prelu.cli.options.conversion import ConversionOptions, conversion_options
from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import force_option, model_argument, output_option
from keras_prelu.cli.options.groups import is_given
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.options.training import TrainingOptions, epochs_option
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("convert")
@model_argument
@output_option("MODEL.prelu.keras")
@data_options("Samples to calibrate with", required=False)
@force_option
@click.option(
    "--finetune",
    "then_finetune",
    is_flag=True,
    help="Also fine-tune the result and a ReLU control, and compare them.",
)
@epochs_option(
    "Passes over the training samples, for --finetune. For the other options of a training use"
    " keras-prelu finetune."
)
@conversion_options
@calibration_options
@session_options
def command(
    model: ModelName,
    output: Path | None,
    data: DataOptions,
    force: bool,
    then_finetune: bool,
    training: TrainingOptions,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> None:
    """Convert MODEL into a PReLU model, written beside it, or for a published model in the working
    directory. MODEL itself is not changed.

    Without further options the outputs stay the same, bit for bit: the slopes start at 0. With
    --data, they start at 0.25, and the layers are calibrated: refitted on unlabelled samples so
    that the outputs change little. If DATA has labels, the metrics that MODEL is compiled with are
    printed before and after. With --finetune and labels, the result is also fine-tuned, and
    the verdict comes from samples that nothing else used. OUTPUT is then the fine-tuned model, by
    default MODEL.prelu.finetuned.keras, and the converted one is written to MODEL.prelu.keras or,
    if OUTPUT is given, to OUTPUT.prelu.keras. `keras-prelu finetune` converts and fine-tunes with
    all options of a training.

    \b
    Examples:
      keras-prelu convert model.keras
      keras-prelu convert keras_hub:resnet_50_imagenet
      keras-prelu convert model.keras --parameterization positive
      keras-prelu convert model.keras --data samples.npz --alpha 0.25
      keras-prelu convert model.keras --data samples.npz --alpha auto
      keras-prelu convert model.keras --data samples.npz --finetune
      keras-prelu convert model.keras --data samples.npz --activations smooth --distill 8
      keras-prelu convert model.prelu.keras --data samples.npz --to leaky_relu
    """
    from keras_prelu.cli.console import print_json, print_shown
    from keras_prelu.cli.conversion_scores import conversion_scores
    from keras_prelu.cli.drawn_samples import split_labelled
    from keras_prelu.cli.exit_statuses import WORSE
    from keras_prelu.cli.finetuned_files import (
        check_finetuned_outputs,
        write_finetuned,
    )
    from keras_prelu.cli.finetuning import finetune_model
    from keras_prelu.cli.records import check_outputs, write_calibration
    from keras_prelu.cli.runners import convert_model
    from keras_prelu.cli.sample_records import carry_record, check_carried_record
    from keras_prelu.diagnostics.slopes import layer_slopes
    from keras_prelu.io.model_files import check_output, save_model

    if then_finetune and not data.source:
        raise click.UsageError("--finetune needs --data with labels.")
    if not then_finetune and is_given(click.get_current_context(), "epochs"):
        raise click.UsageError("--epochs is for --finetune. Add --finetune, or leave it out.")
    conversion.check(has_data=bool(data.source))
    if then_finetune and conversion.to != "prelu":
        raise click.UsageError("--finetune trains PReLU models. Leave it out, or --to.")
    output, finetuned_output = _outputs(model, output, conversion.to, then_finetune)
    original = session.load_model(model)
    calibrates = conversion.calibrates(has_data=bool(data.source))
    (check_outputs if calibrates else check_output)(output, force=force)
    if finetuned_output is not None:
        check_finetuned_outputs(finetuned_output, control=training.control, force=force)
    check_run_file(finetuned_output or output)
    check_carried_record(model, output, force=force)
    dataset = data.load(original) if data.source else None
    train, validation = None if dataset is None else dataset.train, None
    if then_finetune:
        train, validation = split_labelled(dataset, original, session, [model])
    result = convert_model(original, train, conversion, calibration, session)
    save_model(result.model, output, force=force)
    carry_record(model, output, force=force)
    scores = None
    if dataset is not None and not then_finetune:  # Which measures both before it trains them.
        scores = conversion_scores(
            model,
            original,
            result.model,
            dataset,
            calibrated_with=calibration.samples,
            seed=session.seed,
        )
    if result.calibration is not None:
        write_calibration(result.calibration, scores, output, force=force)
    layers = layer_slopes(result.model)
    report = {
        "model": model,
        "output": output,
        "layers": layers,
        "calibration": result.calibration,
        "distillation": result.distillation,
        "slope_search": result.slope_search,
        "fitted_slopes": result.fitted_slopes,
        "error": result.error,
        "scores": scores,
        "note": result.note,
        "caps": result.caps,
        "is_exact": result.is_exact,
        "verification": result.verification,
    }
    if not session.json:
        _print_conversion(result, output, layers, conversion.to)
        if result.is_exact:
            echo(_agreement(result.verification, model))
        if scores is not None:
            scores.print(str(data.source), str(model), str(output))
    written = output
    if finetuned_output is not None:
        finetuning = finetune_model(result.model, train, validation, original, training, session)
        files = write_finetuned(
            finetuning,
            finetuned_output,
            original=model,
            converted=ModelName(output),
            train=train,
            validation=validation,
            force=force,
        )
        report |= {
            "finetuned": files.output,
            "files": files,
            "verdict": finetuning.verdict,
            "best": finetuning.best,
            "result": finetuning,
        }
        written = files.output
        if not session.json:
            echo()
            print_shown(finetuning)
            files.print()
    write_run_file(written)
    if session.json:
        print_json(report)
    if finetuned_output is not None and finetuning.is_worse_than_incoming:
        click.get_current_context().exit(WORSE)


def _outputs(
    model: ModelName, output: Path | None, to: str, then_finetune: bool
) -> tuple[Path, Path | None]:
    """Return the files of the converted and of the fine-tuned model, if there is one.

    The file that the user names holds the final result.
    """
    from keras_prelu.io.model_names import beside

    if not then_finetune:
        return output or beside(model, to), None
    if output is None:
        converted = beside(model, "prelu")
        return converted, beside(converted, "finetuned")
    return beside(output, "prelu"), output


def _print_conversion(result: Any, output: Path, layers: Sequence[Any], to: str) -> None:
    from keras_prelu.cli.console import (
        count,
        print_shown,
    )
    from keras_prelu.cli.tables import number

    if result.fitted_slopes and to != "relu":
        what = "smooth activation" if to == "prelu" else "PReLU layer"
        echo(
            f"Slopes fitted to {count(len(result.fitted_slopes), what)}:"
            f" {number(min(result.fitted_slopes.values()))} to"
            f" {number(max(result.fitted_slopes.values()))} (means of the layers)."
        )
    if result.calibration is not None:
        print_shown(result.calibration)
    if result.slope_search is not None:
        print_shown(result.slope_search)
    if result.distillation is not None:
        print_shown(result.distillation)
    if to == "prelu":
        slope_count = sum(layer.count for layer in layers)
        echo(f"Wrote {output}: {count(len(layers), 'PReLU layer')}, {count(slope_count, 'slope')}.")
    else:
        kind = {"relu": "ReLU", "leaky_relu": "LeakyReLU"}[to]
        replaced = [layer for layer in layers if layer.path in result.fitted_slopes]
        kept = len(layers) - len(replaced)
        left = f"; {count(kept, 'PReLU layer')} left" if kept else ""
        echo(f"Wrote {output}: {count(len(result.sites), 'site')} with {kind} now{left}.")
        if replaced:
            echo(
                f"{len(replaced)} of them are in Python code, as PReLU layers with one frozen"
                f" slope: {output} needs keras_prelu, exports of it have {kind}."
            )
    if result.caps:
        removed = sum(cap.removed for cap in result.caps)
        echo(f"Removed {removed} of {count(len(result.caps), 'cap')}.")
    if to == "prelu":
        lowest = min(layer.minimum for layer in layers)
        highest = max(layer.maximum for layer in layers)
        same = number(lowest) == number(highest)
        echo(f"Initial slopes: {number(lowest)}{'' if same else f' to {number(highest)}'}.")
    if result.calibration is None and result.error is not None:
        echo(f"Error of the model's output on the samples: {number(result.error)}")


def _agreement(verification: Any, model: ModelName) -> str:
    """Return what the comparison of predictions found, in words."""
    from keras_prelu.cli.tables import number

    if verification is None or verification.obstacle:
        return f"Predictions were not compared with those of {model}."
    samples = f"{verification.samples} {'drawn ' if verification.drawn else ''}samples"
    if verification.largest_difference == 0:
        return f"Predictions equal those of {model} bit for bit on {samples}."
    return (
        f"Predictions equal those of {model} up to rounding on {samples} (largest difference"
        f" {number(verification.largest_difference, 2)})."
    )
