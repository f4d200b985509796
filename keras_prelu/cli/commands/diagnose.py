"""`keras-prelu diagnose`: find what is wrong with a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import click

from keras_prelu.cli.exit_statuses import ABOVE_LIMIT
from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import MODEL, model_argument
from keras_prelu.cli.options.numbers import POSITIVE, number_option
from keras_prelu.cli.options.parameter_types import MeasureLimit
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.io.model_names import ModelName

__all__ = ["MEASURES", "command"]

# The names repeat those of the package, since importing them would import Keras for --help. A test
# compares them with the package.
MEASURES = (
    "dead",
    "nearly-dead",
    "one-sided",
    "signal",
    "gradient",
    "noise",
    "unused-rank",
    "norm-growth",
    "gradient-loss",
)


@click.command("diagnose")
@model_argument
@data_options("Samples; with labels, gradients are measured too")
@number_option(
    "--samples", click.IntRange(min=3), default=2000, help="Largest number of samples to use."
)
@click.option(
    "--loss",
    help="Keras loss, or module:function, for gradients and trials.  [default: the one that MODEL"
    " is compiled with]",
)
@click.option(
    "--reference",
    type=MODEL,
    help="MODEL before its training, whose weights and gradients are compared with."
    "  [default: weights are drawn from the layers' initializers]",
)
@click.option(
    "--trial",
    is_flag=True,
    help="Try the recipes that are worth it in short trainings on the data, judged on a fifth of it"
    " that is held back. MODEL is a ReLU model.",
)
@number_option(
    "--trial-seconds",
    POSITIVE,
    default=20.0,
    help="How long the trials may take at most; two recipes are tried however long that takes.",
)
@click.option(
    "--fail-on",
    "limits",
    type=MeasureLimit(MEASURES),
    multiple=True,
    help=(
        f"Exit with status {ABOVE_LIMIT} if a measure is above a number. Can be repeated."
        f" Measures: {', '.join(MEASURES)}."
    ),
)
@session_options
def command(
    model: ModelName,
    data: DataOptions,
    samples: int,
    loss: str | None,
    reference: ModelName | None,
    trial: bool,
    trial_seconds: float,
    limits: tuple[tuple[str, float], ...],
    session: SessionOptions,
) -> None:
    """Measure the dead units, ranks, norms, the signal by depth and the gradients of MODEL on DATA,
    and advise what to do. What a preparation gains, only a trial shows.

    \b
    Examples:
      keras-prelu diagnose model.keras --data digits
      keras-prelu diagnose model.keras --data samples.npz --fail-on dead=0.2 --json
      keras-prelu diagnose model.keras --data new.npz --trial
    """
    import numpy as np

    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.drawn_samples import random_indices
    from keras_prelu.cli.progress import progress
    from keras_prelu.diagnostics.diagnosis import diagnose

    loaded = session.load_model(model)
    train = data.load(loaded).train
    chosen = train.take(np.sort(random_indices(train, samples, session.seed)))
    with progress("Measuring"):
        result = diagnose(
            loaded,
            chosen,
            loss=session.load_loss(loss),
            reference=None if reference is None else session.load_model(reference),
            seed=session.seed,
        )
    trials = _try(loaded, train, session.load_loss(loss), trial_seconds, session) if trial else None
    failed = _exceeded(limits, result.measures, model)
    if session.json:
        names = [name for name, _ in failed]
        found = {"model": model, "data": data.source, "failed": names, "diagnosis": result}
        print_json(found if trials is None else {**found, "trials": trials})
    else:
        _print_diagnosis(model, result, advises_trial=trials is None)
        if trials is not None:
            _print_trials(trials)
    for name, limit in failed:
        echo(f"{name} is {result.measures[name]:.3g}, above {limit:g}.", err=True)
    if failed:
        raise click.exceptions.Exit(ABOVE_LIMIT)


def _try(model: Any, samples: Any, loss: Any, seconds: float, session: SessionOptions) -> Any:
    """Return the `RecipeTrials` of a model, run under a progress bar."""
    from keras_prelu.cli.finetuning import trial_progress
    from keras_prelu.cli.progress import progress
    from keras_prelu.training.config import FitConfig
    from keras_prelu.training.recipe_trials import try_recipes

    fit = FitConfig(loss=loss, seed=session.seed)
    with progress("Trying recipes", counts=False) as update:
        on_trial = trial_progress(update)
        return try_recipes(model, samples, seconds=seconds, fit=fit, on_trial=on_trial)


def _exceeded(
    limits: Sequence[tuple[str, float]], measures: Mapping[str, float], model: ModelName
) -> list[tuple[str, float]]:
    """Return the limits that the measures exceed; a measure that is NaN exceeds every limit."""
    from keras_prelu.errors import InvalidArgumentError

    for name, _ in limits:
        if name not in measures:
            raise InvalidArgumentError(
                f"--fail-on {name}: {model} has no such measure on this data. It has"
                f" {', '.join(measures)}."
            )
    return [(name, limit) for name, limit in limits if not measures[name] <= limit]


def _print_diagnosis(model: ModelName, result: Any, *, advises_trial: bool) -> None:
    from keras_prelu.cli.tables import print_tables

    units, *others = result.tables()
    print_tables([dataclasses.replace(units, title=f"{model}: {units.title}"), *others])
    for sentence in result.sentences():
        if advises_trial or sentence != result.note:
            echo(sentence)


def _print_trials(trials: Any) -> None:
    from keras_prelu.cli.tables import number, print_table

    echo()
    print_table(
        f"Recipes tried, losses on {trials.held_back} samples that no training saw",
        ["recipe", "slopes' rate", "round", "steps", "loss"],
        [
            [trial.recipe, f"{trial.multiplier:g}x", trial.round, trial.steps, number(trial.loss)]
            for trial in trials.latest
        ],
        right=["slopes' rate", "round", "steps", "loss"],
    )
    if trials.note:
        echo(f"{trials.note} --trial-seconds gives more.")
    if trials.recipe == "relu":
        echo("No recipe was better than plain ReLU.")
    else:
        echo(
            f"Lowest: {trials.recipe}. keras-prelu finetune, which chooses in the same way, tells"
            " whether that is more than noise."
        )
