"""`keras-prelu finetune`: PReLU beside its ReLU control, and a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.calibration import CalibrationOptions
from keras_prelu.cli.conversion import ConversionOptions, conversion_options, convert_with, load_data
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("finetune")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", "source", metavar="DATA", required=True, help="Labelled samples: digits, FILE.npz or tfds:NAME[:SPLIT].")
@click.option("--original", type=click.Path(path_type=Path), help="The ReLU model that a converted MODEL was made from.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write.  [default: MODEL.finetuned.keras beside MODEL]")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Passes over the training samples.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Samples in a step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Of Adam, cosine decay.  [default: 0.003]")
@click.option(
    "--slope-multiplier",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="The slopes' rate over the weights'.",
)
@click.option("--loss", help="Keras loss.  [default: the one MODEL is compiled with]")
@click.option("--control/--no-control", default=True, show_default=True, help="Whether to train the ReLU control for the verdict.")
@conversion_options
@session_options
def command(
    model: Path,
    source: str,
    original: Path | None,
    output: Path | None,
    force: bool,
    epochs: int,
    batch_size: int,
    learning_rate: float | None,
    slope_multiplier: float,
    loss: str | None,
    control: bool,
    conversion: ConversionOptions,
    calibration: CalibrationOptions,
    session: Session,
) -> None:
    """Fine-tune MODEL with PReLU beside an equally fine-tuned ReLU control, and say whether PReLU was worth it.

    A ReLU MODEL is converted and calibrated first; a converted one needs --original for the control, or --no-control.
    Scores come from the data's test samples, or from a fifth of the samples that is held out.

    \b
    Examples:
      keras-prelu finetune model.keras --data digits --epochs 5
      keras-prelu finetune model.prelu.keras --original model.keras --data samples.npz
    """
    from keras_prelu.cli.output import print_json, progress
    from keras_prelu.data.sources import split
    from keras_prelu.diagnostics.slopes import slopes
    from keras_prelu.errors import DataError
    from keras_prelu.files import beside, check_output, load_model, save_model
    from keras_prelu.training.finetune import finetune

    output = output or beside(model, "finetuned")
    given = load_model(model, allow_unsafe=session.allow_unsafe)
    check_output(output, force=force)
    data = load_data(source, given)
    if data.train.y is None:
        raise DataError(f"Fine-tuning needs labels, and '{source}' has none: add an array 'y'.")
    train, validation = (data.train, data.test) if data.test is not None else split(data.train, 0.2, session.seed)
    if slopes(given):
        relu, prelu = load_model(original, allow_unsafe=session.allow_unsafe) if original else None, given
        if control and relu is None:
            raise click.UsageError(f"{model} is converted already: give --original for the control, or --no-control.")
    else:
        relu = given
        prelu = convert_with(given, conversion, calibration, session, train).model
    total = epochs * (2 if control else 1)
    with progress("Fine-tuning", total) as update:
        result = finetune(
            prelu,
            relu,
            train,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            slope_multiplier=slope_multiplier,
            loss=loss,
            callbacks=_epoch_counter(update, total),
            control=control,
            seed=session.seed,
        )
    save_model(result.model, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "verdict": result.verdict, "result": result})
        return
    _print_result(result)
    click.echo(f"Wrote {output}.")


def _epoch_counter(update: Any, total: int) -> Any:
    """A factory of callbacks that count epochs over both runs."""
    import keras

    done = 0

    class Counter(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            nonlocal done
            done += 1
            update(done, total)

    return lambda: [Counter()]


def _print_result(result: Any) -> None:
    from keras_prelu.cli.output import dead_of, number, print_table

    runs = [("PReLU", result.prelu)] + ([("ReLU control", result.control)] if result.control else [])
    print_table(
        "Fine-tuning, scores on samples that no training saw",
        ["model", "before", "after", "dead units before", "dead units after"],
        [
            [name, number(run.score_before), number(run.score_after), dead_of(run.dead_before), dead_of(run.dead_after)]
            for name, run in runs
        ],
        right=["before", "after"],
    )
    print_table(
        "Slopes",
        ["layer", "count", "mean before", "mean after", "lowest", "highest"],
        [
            [after.path, str(after.count), number(before.mean), number(after.mean), number(after.minimum), number(after.maximum)]
            for before, after in zip(result.slopes_before, result.slopes_after, strict=True)
        ],
        right=["count", "mean before", "mean after", "lowest", "highest"],
    )
    click.echo(result.verdict)
