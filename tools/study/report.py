"""The table, in Markdown: changes of the error against the fine-tuned ReLU control, paired by
seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

import keras
import numpy as np
import scipy.stats

from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.recipes import CONTROL, RECIPES, REVIVED_CONTROL
from tools.study.measure import CONTROLLED, Result

FIXED_SLOPES = "fixed-slopes"
WAYS = (*(recipe.name for recipe in RECIPES if recipe != CONTROL), "auto")


def markdown(results: Sequence[Result]) -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("keras", keras.backend.backend())
    )
    lines = [
        "# When PReLU helps after fine-tuning",
        "",
        (
            f"Written by `python -m tools.study` ({versions}). Each network is trained with ReLU,"
            " then fine-tuned for half as many"
        ),
        (
            "epochs with each recipe: Adam from 0.003 along a cosine, the same data order, the best"
            " epoch on a fifth of the training samples."
        ),
        (
            "Change of the test error against the fine-tuned ReLU control in percent of it,"
            " negative is better: mean over seeds ± standard"
        ),
        "error, paired by seed; bold where the 95 % interval (Student's t) is off zero.",
        '"auto" chooses on the same fifth, with a budget of three fine-tunings.',
        "",
        "| task | seeds | dead units | error of the control | "
        + " | ".join(WAYS)
        + " | auto chose |",
        "|---|---:|---:|---:|" + "---:|" * len(WAYS) + "---|",
    ]
    for task in dict.fromkeys(result.task for result in results):
        lines.append(_row(task, [result for result in results if result.task == task]))
    return "\n".join([*lines, "", *_summary(results), "", *_controls(results)])


def _controls(results: Sequence[Result]) -> list[str]:
    controlled = [result for result in results if result.controls]
    if not controlled:
        return []
    lines = [
        (
            f'What "{CONTROLLED}" gains by: the same change where its slopes don\'t learn, and'
            " where the whole network starts from fresh"
        ),
        (
            "weights (`PReLUHeNormal`) with the budget of the fine-tuning; paired by seed, all four"
            " trained in a run of their own."
        ),
        (
            f"The last column is {CONTROLLED} against {FIXED_SLOPES}: what it brings that slopes"
            " learn, in percent of that control."
        ),
        "",
        f"| task | seeds | {CONTROLLED} | " + " | ".join(CONTROLS) + " | slopes learn |",
        "|---|---:|" + "---:|" * (len(CONTROLS) + 2),
    ]
    for task in dict.fromkeys(result.task for result in controlled):
        of_task = [replace(item, errors=item.controls) for item in controlled if item.task == task]
        cells = [_cell(change(of_task, way)) for way in (CONTROLLED, *CONTROLS)] + [
            _cell(change(of_task, CONTROLLED, FIXED_SLOPES), 1)
        ]
        lines.append(f"| {task} | {len(of_task)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _row(task: str, results: Sequence[Result]) -> str:
    control = np.array([result.errors[CONTROL.name] for result in results])
    unit = " %" if control.mean() > 0.5 and "regression" not in task else ""
    dead = f"{np.mean([result.dead for result in results]):.1f} of {results[0].units}"
    chosen = ", ".join(
        f"{name} {count}"
        for name, count in Counter(result.chosen for result in results).most_common()
    )
    cells = [_cell(change(results, way)) for way in WAYS]
    return (
        f"| {task} | {len(results)} | {dead} | {control.mean():.3g}{unit} | "
        + " | ".join(cells)
        + f" | {chosen} |"
    )


def change(results: Sequence[Result], way: str, against: str = CONTROL.name) -> np.ndarray:
    """By seed, in percent of the mean error that is compared with; where both are at hand."""
    both = [result for result in results if way in result.errors and against in result.errors]
    base = np.mean([result.errors[against] for result in both]) if both else 1.0
    return np.array(
        [100.0 * (result.errors[way] - result.errors[against]) / (base or 1.0) for result in both]
    )


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 %, Student's t; no width where all values are the same."""
    spread = (
        values.std(ddof=1) / np.sqrt(len(values)) * scipy.stats.t.ppf(0.975, len(values) - 1)
        if len(values) > 1
        else np.inf
    )
    return float(values.mean() - spread), float(values.mean() + spread)


def _cell(values: np.ndarray, digits: int = 0) -> str:
    if len(values) < 2:
        return "–" if len(values) == 0 else f"{values[0]:+.{digits}f}"
    low, high = interval(values)
    text = f"{values.mean():+.{digits}f} ± {values.std(ddof=1) / np.sqrt(len(values)):.{digits}f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def _summary(results: Sequence[Result]) -> list[str]:
    names = list(dict.fromkeys(result.task for result in results))
    by_task = {name: [result for result in results if result.task == name] for name in names}
    better = [name for name, items in by_task.items() if interval(change(items, "auto"))[1] < 0]
    worse = [name for name, items in by_task.items() if interval(change(items, "auto"))[0] > 0]
    on_average = [name for name, items in by_task.items() if change(items, "auto").mean() > 1.0]
    revived = [
        name
        for name, items in by_task.items()
        if len(change(items, "auto", REVIVED_CONTROL.name)) > 1
        and interval(change(items, "auto", REVIVED_CONTROL.name))[1] < 0
    ]
    return [
        (
            '"auto" is better than the control with an interval off zero on'
            f" {_counted(better, names)}, worse on {_counted(worse, names)}."
        ),
        f"Its mean error is more than 1 % above the control's on {_counted(on_average, names)}.",
        f"It beats the revived control with an interval off zero on {_counted(revived, names)}.",
    ]


def _counted(found: Sequence[str], names: Sequence[str]) -> str:
    return f"{len(found)} of {len(names)} tasks" + (f" ({'; '.join(found)})" if found else "")
