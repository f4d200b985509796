"""`keras-prelu demo`: the whole story on bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.session import Session, session_options

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
    help="Seeds, counted up from --seed.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of training; fine-tuning takes half of it.",
)
@session_options
def command(output: Path, runs: int, epochs: int, session: Session) -> None:
    """Train a small ReLU network on digits, convert it with and without calibration, fine-tune it
    beside its control, and judge.

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
    stages, done = 3 * runs, 0
    with progress("Demo", stages) as update:

        def begin(text: str) -> None:
            nonlocal done
            click.echo(f"[{done + 1}/{stages}] {text}", err=True)
            update(done, stages)
            done += 1

        demo = run_demo(
            tuple(range(session.seed, session.seed + runs)), epochs=epochs, on_progress=begin
        )
    paths = {
        name: output / f"{name}.keras" for name in ("digits", "digits.prelu", "digits.finetuned")
    }
    for path, model in zip(
        paths.values(), (demo.original, demo.converted, demo.first.model), strict=True
    ):
        save_model(model, path, force=True)
    if session.json:
        print_json({"demo": demo, "models": list(paths.values())})
        return
    _print_demo(demo)
    click.echo(f"Models of the first run: {', '.join(map(str, paths.values()))}")


def _print_demo(demo: Any) -> None:
    from keras_prelu.cli.console import dead_of, number, print_table, spread

    runs = len(demo.seeds)
    print_table(
        f"Conversion of a trained ReLU network ({spread(demo.original_accuracy, '{:.1f}')} % on 360"
        f" test digits) at slope {demo.alpha:g}, no training; mean ± deviation of {runs} seeds",
        ["rescale", "accuracy change (points)", "logit error"],
        [
            [
                item.rescale,
                spread(item.accuracy_change, "{:+.2f}"),
                spread(item.logit_error, "{:.4f}"),
            ]
            for item in demo.conversions
        ],
        right=["accuracy change (points)", "logit error"],
    )
    first = demo.first
    print_table(
        "After fine-tuning, same budget and data order",
        ["model", "accuracy (%)", "dead units before", "dead units after"],
        [
            [
                "PReLU, calibrated",
                spread(demo.tuned_accuracy, "{:.2f}"),
                dead_of(first.prelu.dead_before),
                dead_of(first.prelu.dead_after),
            ],
            [
                "ReLU control",
                spread(demo.control_accuracy, "{:.2f}"),
                dead_of(first.control.dead_before),
                dead_of(first.control.dead_after),
            ],
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
    click.echo(
        f"Verdict: {demo.comparison.sentence('PReLU', 'the equally fine-tuned ReLU network')}"
    )
