"""`keras-prelu diagnose`: what is wrong with a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options

__all__ = ["MEASURES", "command"]

# Repeated from the package, which can't be asked without importing Keras; a test compares them.
MEASURES = ("dead", "nearly-dead", "one-sided", "signal", "gradient", "noise")
_EXIT_STATUS = 3


class _Limit(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A measure's name and the number that it may not exceed."""

    name = "MEASURE=NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        name, _, number = str(value).partition("=")
        if name not in MEASURES:
            self.fail(
                f"'{value}' is no MEASURE=NUMBER; measures are {', '.join(MEASURES)}", param, ctx
            )
        limit: float = click.FLOAT.convert(number, param, ctx)  # type: ignore[arg-type]  # it takes text
        return name, limit


@click.command("diagnose")
@click.argument("model", type=click.Path(path_type=Path))
@data_options("Samples; with labels the gradient's noise is measured too")
@click.option(
    "--samples",
    type=click.IntRange(min=3),
    default=2000,
    show_default=True,
    help="How many of them, at most.",
)
@click.option(
    "--loss", help="Keras loss, for the noise.  [default: the one MODEL is compiled with]"
)
@click.option(
    "--fail-on",
    "limits",
    type=_Limit(),
    multiple=True,
    help=(
        f"Exit with status {_EXIT_STATUS} where a measure is above a number. Can be repeated."
        f" Measures: {', '.join(MEASURES)}."
    ),
)
@session_options
def command(
    model: Path,
    data: DataOptions,
    samples: int,
    loss: str | None,
    limits: tuple[tuple[str, float], ...],
    session: Session,
) -> None:
    """Measure dead units, the signal by depth and the gradient noise of MODEL on DATA, and say what
    to do about it.

    \b
    Examples:
      keras-prelu diagnose model.keras --data digits
      keras-prelu diagnose model.keras --data samples.npz --fail-on dead=0.2 --json
    """
    import numpy as np

    from keras_prelu.cli.console import print_json, progress
    from keras_prelu.diagnostics.diagnosis import diagnose
    from keras_prelu.errors import InvalidArgumentError
    from keras_prelu.io.model_files import load_model

    loaded = load_model(model, allow_unsafe=session.allow_unsafe)
    train = data.load(loaded).train
    chosen = train.take(
        np.sort(np.random.default_rng(session.seed).permutation(len(train))[:samples])
    )
    with progress("Measuring"):
        result = diagnose(loaded, chosen, loss=loss, seed=session.seed)
    for name, _ in limits:
        if name not in result.measures:
            raise InvalidArgumentError(
                f"--fail-on {name}: {model} has no such measure with this data; it has"
                f" {', '.join(result.measures)}."
            )
    failed = [(name, limit) for name, limit in limits if not result.measures[name] <= limit]
    if session.json:
        print_json(
            {
                "model": model,
                "data": data.source,
                "failed": [name for name, _ in failed],
                "diagnosis": result,
            }
        )
    else:
        _print(model, result)
    for name, limit in failed:
        click.echo(f"{name} is {result.measures[name]:.3g}, above {limit:g}.", err=True)
    if failed:
        raise click.exceptions.Exit(_EXIT_STATUS)


def _print(model: Path, result: Any) -> None:
    from keras_prelu.cli.console import number, print_table

    print_table(
        f"{model}: units at {len(result.units)} site{'' if len(result.units) == 1 else 's'} on"
        f" {result.samples} samples",
        ["path", "units", "dead", "nearly dead", "negative", "one-sided"],
        [
            [
                site.path,
                str(site.units),
                str(site.dead),
                str(site.nearly_dead),
                f"{100 * site.negative:.1f} %",
                "–" if site.one_sided is None else str(site.one_sided),
            ]
            for site in result.units
        ],
        right=["units", "dead", "nearly dead", "negative", "one-sided"],
    )
    print_table(
        "Signal by depth",
        ["path", "kind", "second moment", "gain", "predicted", "gradient"],
        [
            [
                layer.path,
                layer.kind,
                number(layer.moment, 3),
                number(layer.gain, 3),
                number(layer.predicted, 3),
                number(layer.gradient, 3),
            ]
            for layer in result.signal
        ],
        right=["second moment", "gain", "predicted", "gradient"],
    )
    if result.normalizations:
        print_table(
            "BatchNormalization after a rectifier, means over the channels",
            ["path", "gamma", "gamma that keeps the outputs", "gamma that reconstructs"],
            [
                [
                    found.path,
                    *(
                        number(float(values.mean()), 3)
                        for values in (found.gamma, found.identity, found.reconstruction)
                    ),
                ]
                for found in result.normalizations
            ],
            right=["gamma", "gamma that keeps the outputs", "gamma that reconstructs"],
        )
    for finding in result.findings:
        click.echo(f"{finding.text} {finding.advice}")
    if not result.findings:
        click.echo("Nothing stands out.")
