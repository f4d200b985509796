"""The tables of a fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_prelu.display.tables import Table, number

__all__ = ["dead_units_text", "finetuning_tables", "named_trainings"]


def finetuning_tables(result: Any) -> tuple[Table, ...]:
    """Return the tables of a `FineTuning`: trials, runs, scores, all metrics and slopes."""
    metrics = _metrics(result)
    return (
        *([_trials(result.trials)] if result.trials else []),
        *([_runs(result.over_runs)] if result.over_runs is not None else []),
        _scores(result),
        *([] if metrics is None else [metrics]),
        *([_slopes(result)] if result.slopes_after else []),
    )


def named_trainings(result: Any) -> list[tuple[str, Any]]:
    """Return the trainings of a `FineTuning` with the names of their models.

    The control is left out if the search chose it as the result: it would be listed twice.
    """
    kind = "PReLU" if result.slopes_after else "ReLU"
    name = f"{kind}, recipe {result.recipe}" if result.recipe else kind
    controls = [
        ("ReLU control", result.control),
        ("ReLU control, prepared alike", result.prepared_control),
    ]
    controls += [(f"PReLU control, {control.name}", control.trained) for control in result.controls]
    others = [
        (control_name, training)
        for control_name, training in controls
        if training is not None and training is not result.prelu
    ]
    return [(name, result.prelu), *others]


def dead_units_text(sites: Sequence[Any]) -> str:
    """Return the number of dead units of all sites as text: "3 of 192"."""
    return f"{sum(site.dead for site in sites)} of {sum(site.units for site in sites)}"


def _trials(trials: Sequence[Any]) -> Table:
    return Table(
        title="Recipes tried, losses on samples held back for the choice",
        columns=["recipe", "slopes' rate", "round", "steps", "loss"],
        rows=[
            [
                trial.recipe,
                f"{trial.multiplier:g}x",
                trial.round,
                trial.steps,
                number(trial.loss),
            ]
            for trial in trials
        ],
        right=["slopes' rate", "round", "steps", "loss"],
    )


def _runs(over_runs: Any) -> Table:
    return Table(
        title="Runs, scores on samples that no training saw",
        columns=["seed", "model", "ReLU control", "prepared alike", "loss on selection samples"],
        rows=[
            [
                f"{run.seed}{' (chosen)' if run.seed == over_runs.chosen else ''}",
                number(run.score),
                number(run.control_score),
                number(run.prepared_control_score),
                number(run.selection_loss),
            ]
            for run in over_runs.runs
        ],
        right=["model", "ReLU control", "prepared alike", "loss on selection samples"],
    )


def _scores(result: Any) -> Table:
    seed = "" if result.over_runs is None else f", seed {result.over_runs.chosen}"
    return Table(
        title=f"Fine-tuning, scores on samples that no training saw{seed}",
        columns=["model", "before", "after", "dead units before", "dead units after"],
        rows=[
            [
                name,
                number(training.score_before),
                number(training.score_after),
                dead_units_text(training.dead_before),
                dead_units_text(training.dead_after),
            ]
            for name, training in named_trainings(result)
        ],
        right=["before", "after"],
    )


def _metrics(result: Any) -> Table | None:
    """Return all metrics of the trainings, or None if there are none beside the score."""
    trainings = named_trainings(result)
    names = list(trainings[0][1].metrics_after)
    if len(names) < 2:
        return None
    return Table(
        title="All metrics, on the same samples",
        columns=["model", "metric", "before", "after"],
        rows=[
            [
                model,
                name,
                number(training.metrics_before.get(name)),
                number(training.metrics_after.get(name)),
            ]
            for model, training in trainings
            for name in names
        ],
        right=["before", "after"],
    )


def _slopes(result: Any) -> Table:
    return Table(
        title="Slopes",
        columns=["layer", "count", "mean before", "mean after", "lowest", "highest"],
        rows=[
            [
                after.path,
                after.count,
                number(before.mean),
                number(after.mean),
                number(after.minimum),
                number(after.maximum),
            ]
            for before, after in zip(result.slopes_before, result.slopes_after, strict=True)
        ],
        right=["count", "mean before", "mean after", "lowest", "highest"],
        worst=[max(abs(after.minimum), abs(after.maximum)) for after in result.slopes_after],
    )
