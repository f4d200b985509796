"""`keras-prelu demo`: convert and fine-tune a small network on bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo

__all__ = ["command"]


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the models.",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of repetitions, with seeds counted up from --seed.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Epochs of training; fine-tuning takes half as many.",
)
@session_options
def command(output: Path, runs: int, epochs: int, session: SessionOptions) -> None:
    """Train a small ReLU network on digits, convert it with and without calibration, fine-tune the
    result and its ReLU control, and compare them.

    Takes about a minute on two cores, and replaces the models of an earlier demo in the output
    folder.

    \b
    Example:
      keras-prelu demo
    """
    from keras_prelu.cli.console import print_json, progress
    from keras_prelu.demo import run_demo
    from keras_prelu.io.model_files import save_model

    output.mkdir(parents=True, exist_ok=True)
    stages, begun = 3 * runs, 0
    with progress("Demo", stages) as update:

        def begin(stage: str) -> None:
            nonlocal begun
            echo(f"[{begun + 1}/{stages}] {stage}", err=True)
            update(begun, stages)
            begun += 1

        seeds = tuple(range(session.seed, session.seed + runs))
        demo = run_demo(seeds, epochs=epochs, on_progress=begin)
    models = {
        output / "digits.keras": demo.original,
        output / "digits.prelu.keras": demo.converted,
        output / "digits.finetuned.keras": demo.first.model,
    }
    for path, model in models.items():
        save_model(model, path, force=True)
    if session.json:
        print_json({"demo": demo, "models": list(models)})
        return
    _print_demo(demo)
    echo(f"Models of the first run: {', '.join(map(str, models))}")


def _print_demo(demo: Any) -> None:
    from keras_prelu.cli.console import (
        count,
        dead_units_text,
        mean_and_deviation,
        number,
        print_table,
    )

    accuracy = mean_and_deviation(demo.original_accuracy, "{:.1f}")
    print_table(
        f"Conversion of a trained ReLU network ({accuracy} % on 360 test digits) at slope"
        f" {demo.alpha:g}, no training; mean ± deviation over {count(len(demo.seeds), 'seed')}",
        ["rescale", "accuracy change (points)", "logit error"],
        [
            [
                conversion.rescale,
                mean_and_deviation(conversion.accuracy_change, "{:+.2f}"),
                mean_and_deviation(conversion.logit_error, "{:.4f}"),
            ]
            for conversion in demo.conversions
        ],
        right=["accuracy change (points)", "logit error"],
    )
    first = demo.first
    print_table(
        "After fine-tuning, same budget and data order",
        ["model", "accuracy (%)", "dead units before", "dead units after"],
        [
            [
                name,
                mean_and_deviation(accuracies, "{:.2f}"),
                dead_units_text(training.dead_before),
                dead_units_text(training.dead_after),
            ]
            for name, accuracies, training in (
                ("PReLU, calibrated", demo.tuned_accuracy, first.prelu),
                ("ReLU control", demo.control_accuracy, first.control),
            )
        ],
        right=["accuracy (%)", "dead units before", "dead units after"],
    )
    print_table(
        "Slopes of the first run",
        ["layer", "before", "after", "lowest", "highest"],
        [
            [
                after.path,
                number(before.mean),
                number(after.mean),
                number(after.minimum),
                number(after.maximum),
            ]
            for before, after in zip(first.slopes_before, first.slopes_after, strict=True)
        ],
        right=["before", "after", "lowest", "highest"],
    )
    echo(f"Verdict: {demo.comparison.sentence('PReLU', 'the equally fine-tuned ReLU network')}")
