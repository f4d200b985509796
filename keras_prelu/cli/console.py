"""JSON and the printed form of records.

Nothing is computed here that is missing from the JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_prelu.cli.output import echo
from keras_prelu.cli.tables import number, print_table

__all__ = [
    "count",
    "dead_units_text",
    "mean_and_deviation",
    "number",
    "print_calibration",
    "print_distillation",
    "print_finetuning",
    "print_json",
    "print_slope_search",
    "print_table",
    "to_json",
]


def print_json(value: Any) -> None:
    """Print one JSON object."""
    echo(to_json(value))


def to_json(value: Any) -> str:
    """Return dataclasses, arrays and paths as JSON text."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    # JSON escapes ASCII's control characters, and leaves those of Unicode as they are.
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in text
    )


def _plain(value: Any) -> Any:
    """Return a value as the types of JSON.

    Dataclasses become objects and paths strings; numbers that JSON lacks (NaN, ∞) become null;
    models are left out.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {
            str(key): _plain(member)
            for key, member in value.items()
            if not hasattr(member, "stateless_call")
        }
    if isinstance(value, (list, tuple)):
        return [_plain(element) for element in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def count(quantity: int, noun: str) -> str:
    """Return a quantity with its noun: "1 site", "3 sites"."""
    return f"{quantity:,} {noun}{'' if quantity == 1 else 's'}"


def dead_units_text(sites: Sequence[Any]) -> str:
    """Return the number of dead units of all sites as text: "3 of 192"."""
    return f"{sum(site.dead for site in sites)} of {sum(site.units for site in sites)}"


def mean_and_deviation(values: Sequence[float], pattern: str) -> str:
    """Return the mean of values over seeds ± their sample standard deviation, as text."""
    if len(values) < 2:
        return pattern.format(values[0])
    deviation_pattern = pattern.replace("+", "")
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    return f"{pattern.format(mean)} ± {deviation_pattern.format(deviation)}"


def print_calibration(calibration: Any) -> None:
    """Print a `Calibration`."""
    print_table(
        f"Calibration on {calibration.samples} samples, {calibration.held_out} of them held out;"
        " errors relative to the variance of the output",
        ["layer", "class", "rows", "unknowns", "ridge", "before", "after", "action"],
        [
            [
                layer.path,
                layer.layer,
                layer.rows,
                layer.unknowns,
                number(layer.ridge),
                number(layer.error_before),
                number(layer.error_after),
                layer.action,
            ]
            for layer in calibration.layers
        ],
        right=["rows", "unknowns", "ridge", "before", "after"],
        worst=[layer.error_after for layer in calibration.layers],
    )
    echo(
        f"Error of the model's output on held-out samples: {number(calibration.error_before)} →"
        f" {number(calibration.error_after)}"
    )
    if not calibration.kept:
        echo("The refit did not lower the error on held-out samples, so the weights are unchanged.")


def print_distillation(distillation: Any) -> None:
    """Print a `Distillation`."""
    print_table(
        "Distillation; errors of each block's output relative to its variance",
        ["block, up to", "layers", "steps", "before", "after", "trained weights"],
        [
            [
                block.path,
                block.layers,
                block.steps,
                number(block.error_before),
                number(block.error_after),
                "kept" if block.kept else "undone" if block.steps else "–",
            ]
            for block in distillation.blocks
        ],
        right=["layers", "steps", "before", "after"],
        worst=[block.error_after for block in distillation.blocks],
    )
    echo(
        "Error of the model's output on held-out samples:"
        f" {number(distillation.error_before)} → {number(distillation.error_after)}"
    )
    if not distillation.kept:
        echo("Training did not lower this error, so the weights are those of the calibration.")


def print_slope_search(search: Any) -> None:
    """Print the `SlopeSearch` of `--alpha auto`."""
    print_table(
        "Largest slopes that calibration compensates",
        ["layer", "slope"],
        [[path, number(slope)] for path, slope in search.slopes.items()],
        right=["slope"],
        worst=[-slope for slope in search.slopes.values()],
    )
    echo(
        f"Found in {len(search.trials)} calibrations. Error allowed on held-out samples:"
        f" {number(search.tolerance)}."
    )


def print_finetuning(result: Any) -> None:
    """Print a `FineTuning` and its verdict."""
    if result.trials:
        print_table(
            "Recipes tried, losses on samples held back for the choice",
            ["recipe", "slopes' rate", "round", "steps", "loss"],
            [
                [
                    trial.recipe,
                    f"{trial.multiplier:g}x",
                    trial.round,
                    trial.steps,
                    number(trial.loss),
                ]
                for trial in result.trials
            ],
            right=["slopes' rate", "round", "steps", "loss"],
        )
    if result.over_runs is not None:
        _print_runs(result.over_runs)
    print_table(
        "Fine-tuning, scores on samples that no training saw"
        + ("" if result.over_runs is None else f", seed {result.over_runs.chosen}"),
        ["model", "before", "after", "dead units before", "dead units after"],
        [
            [
                name,
                number(training.score_before),
                number(training.score_after),
                dead_units_text(training.dead_before),
                dead_units_text(training.dead_after),
            ]
            for name, training in _named_trainings(result)
        ],
        right=["before", "after"],
    )
    if result.slopes_after:
        print_table(
            "Slopes",
            ["layer", "count", "mean before", "mean after", "lowest", "highest"],
            [
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
    echo(result.verdict)


def _print_runs(over_runs: Any) -> None:
    """Print the runs of a fine-tuning."""
    print_table(
        "Runs, scores on samples that no training saw",
        ["seed", "model", "ReLU control", "prepared alike", "loss on selection samples"],
        [
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


def _named_trainings(result: Any) -> list[tuple[str, Any]]:
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
