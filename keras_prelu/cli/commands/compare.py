"""`keras-prelu compare`: whether one model is better than another, with the uncertainty, and what
each costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("compare")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@data_options("Labelled samples that neither model has seen")
@click.option(
    "--loss",
    help="Keras loss, for models that are no classifiers.  [default: the one A is compiled with]",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="How little a difference does not matter: of accuracies, or of losses relative to B's.",
)
@session_options
def command(
    first: Path, second: Path, data: DataOptions, loss: str | None, margin: float, session: Session
) -> None:
    """Say whether model A is better than model B on the test samples of DATA, or on all of them
    where there is no test part.

    \b
    Example:
      keras-prelu compare model.finetuned.keras model.keras --data digits
    """
    from keras_prelu.cli.console import number, print_json, print_table
    from keras_prelu.diagnostics.comparison import compare
    from keras_prelu.io.model_files import load_model

    a, b = (load_model(path, allow_unsafe=session.allow_unsafe) for path in (first, second))
    dataset = data.load(a)
    result = compare(
        a, b, dataset.test or dataset.train, loss=loss, margin=margin, seed=session.seed
    )
    verdict = result.sentence(str(first), str(second))
    costs = [_cost(model, path) for model, path in ((a, first), (b, second))]
    if session.json:
        print_json({"verdict": verdict, "comparison": result, "models": costs})
        return
    print_table(
        f"{result.samples:,} samples of {data.source}",
        ["model", result.metric, "parameters", "file (kB)"],
        [
            [
                str(cost["path"]),
                number(score),
                f"{cost['parameters']:,}",
                f"{cost['bytes'] / 1000:,.1f}",
            ]
            for cost, score in zip(costs, (result.a, result.b), strict=True)
        ],
        right=[result.metric, "parameters", "file (kB)"],
    )
    click.echo(verdict)


def _cost(model: Any, path: Path) -> dict[str, Any]:
    return {"path": path, "parameters": model.count_params(), "bytes": path.stat().st_size}
