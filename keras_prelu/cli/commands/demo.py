"""`keras-prelu demo`: networks that go on learning, and a healthy one, on bundled data."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.numbers import COUNT, number_option
from keras_prelu.cli.options.parameter_types import NamedPath
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo

__all__ = ["command"]


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=NamedPath(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the models and the curves.",
)
@number_option(
    "--runs",
    COUNT,
    default=3,
    help="Number of repetitions of the tasks, with seeds counted up from --seed.",
)
@number_option(
    "--epochs",
    COUNT,
    default=16,
    help="Epochs of the healthy network's training; fine-tuning and tasks take half as many and"
    " five eighths.",
)
@session_options
def command(output: Path, runs: int, epochs: int, session: SessionOptions) -> None:
    """Let a ReLU network learn one task after the other, convert it once on the way, and compare it
    with ReLU going on and with fresh networks; then fine-tune a healthy network on the data that it
    was trained on, with and without slopes.

    Takes less than two minutes on two cores, and replaces the files of an earlier demo in the
    output folder. The curves are drawn if matplotlib is installed.

    \b
    Example:
      keras-prelu demo
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.progress import progress
    from keras_prelu.demo import run_demo
    from keras_prelu.io.model_files import save_model

    output.mkdir(parents=True, exist_ok=True)
    stages, begun = 5 * runs + 2, 0
    with progress("Demo") as update:

        def begin(stage: str) -> None:
            nonlocal begun
            echo(f"[{begun + 1}/{stages}] {stage}", err=True)
            update(begun, stages)
            begun += 1

        seeds = tuple(range(session.seed, session.seed + runs))
        demo = run_demo(seeds, epochs=epochs, on_progress=begin)
    healthy = demo.healthy
    models = {
        output / "digits.keras": healthy.original,
        output / "digits.prelu.keras": healthy.converted,
        output / "digits.finetuned.keras": healthy.tuning.model,
    }
    for path, model in models.items():
        save_model(model, path, force=True)
    figure = _drawn(demo.going_on, output / "going_on.svg")
    if session.json:
        print_json({"demo": demo, "models": list(models), "figure": figure})
        return
    _print_going_on(demo.going_on)
    echo(_NO_CURVES if figure is None else f"Curves: {figure}")
    _print_healthy(healthy)
    echo(f"Models: {', '.join(map(str, models))}")


_NO_CURVES = "The curves need matplotlib: pip install 'keras-prelu[report]'."


def _drawn(going_on: Any, path: Path) -> Path | None:
    """Draw the curves of errors, and return the file; None without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from keras_prelu.report.figures import task_errors_figure

    curves = {curve.name: curve.errors for curve in going_on.curves}
    task_errors_figure(curves, before=going_on.before).savefig(path)
    return path


def _print_going_on(going_on: Any) -> None:
    import numpy as np

    from keras_prelu.cli.console import count, mean_and_deviation
    from keras_prelu.cli.tables import print_table

    before, after = len(going_on.before[0]), len(going_on.curves[0].errors[0])
    means = {curve.name: np.mean(curve.errors, axis=1) for curve in going_on.curves}
    print_table(
        f"A network that goes on learning: digits with other permuted pixels in each task, {before}"
        f" tasks as ReLU, then {after} more; mean ± deviation over"
        f" {count(len(going_on.seeds), 'seed')}",
        ["on the later tasks", "test error (%)"],
        [[name, mean_and_deviation(errors, "{:.2f}")] for name, errors in means.items()],
        right=["test error (%)"],
    )


def _print_healthy(healthy: Any) -> None:
    from keras_prelu.cli.tables import print_table
    from keras_prelu.training.result_tables import dead_units_text

    tuning = healthy.tuning
    print_table(
        "A healthy network, fine-tuned on its old data; the conversion changed no output by more"
        f" than {healthy.largest_difference:g}",
        ["network", "accuracy (%)", "dead units before", "dead units after"],
        [
            [
                name,
                f"{100 * training.score_after:.2f}",
                dead_units_text(training.dead_before),
                dead_units_text(training.dead_after),
            ]
            for name, training in (
                ("converted, slopes from 0", tuning.prelu),
                ("ReLU control", tuning.control),
            )
        ],
        right=["accuracy (%)", "dead units before", "dead units after"],
    )
    echo(f"Verdict: {tuning.verdict}")
