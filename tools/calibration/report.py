"""The tables, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import metadata

import keras
import numpy as np

from tools.calibration.measure import ALPHA, SAMPLES, Cost, Kept

CURVE = (16, 32, 64, 128, 256)
_WAYS = ("none", "analytic", "moments", "calibrated")


def markdown(found: Sequence[Kept], costs: Sequence[Cost]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", keras.backend.backend()))
    lines = [
        "# What a conversion keeps of a network's function",
        "",
        f"Written by `python -m tools.calibration` ({versions}). Trained networks, all slopes set to {ALPHA:g}, no training afterwards;",
        f"{SAMPLES} unlabeled training samples where data is used; measured on test samples that nothing else saw. Error: mean squared",
        "change of the outputs over their variance; mean ± standard deviation over seeds. Accuracy changes are in percentage points.",
        "",
        "| network | " + " | ".join(_WAYS) + " | none over calibrated | accuracy, " + " | accuracy, ".join(_WAYS) + " |",
        "|---|" + "---:|" * (2 * len(_WAYS) + 1),
    ]
    for task in dict.fromkeys(item.task for item in found):
        of_task = {way: [item for item in found if item.task == task and _main(item) and item.rescale == way] for way in _WAYS}
        errors = {way: np.array([item.error for item in items]) for way, items in of_task.items()}
        changes = [_changes([item.accuracy_change for item in items]) for items in of_task.values()]
        ratio = f"{errors['none'].mean() / errors['calibrated'].mean():.0f}"
        lines.append("| " + " | ".join([task, *(_spread(values) for values in errors.values()), ratio, *changes]) + " |")
    lines += [
        "",
        "Error of the calibrated network by the number of samples:",
        "",
        "| network | " + " | ".join(map(str, (*CURVE, SAMPLES))) + " |",
    ]
    lines.append("|---|" + "---:|" * (len(CURVE) + 1))
    for task in dict.fromkeys(item.task for item in found if item.samples in CURVE):
        cells = [
            _spread(np.array([item.error for item in found if item.task == task and item.samples == count])) for count in (*CURVE, SAMPLES)
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Cost of calibrating a chain of 3 × 3 convolutions with BatchNormalization, 32 channels, on {SAMPLES} images of 16 × 16 pixels:",
        "",
        "| convolutions | seconds | passes of `predict` over the same samples |",
        "|---:|---:|---:|",
        *(f"| {item.layers} | {item.seconds:.1f} | {item.predictions:.0f} |" for item in costs),
    ]
    if len(costs) > 1:
        exponent = np.polyfit(np.log([item.layers for item in costs]), np.log([item.seconds for item in costs]), 1)[0]
        lines += ["", f"Time grows with depth to the power {exponent:.2f}."]
    return "\n".join([*lines, ""])


def _main(item: Kept) -> bool:
    return item.rescale != "calibrated" or item.samples not in CURVE


def _spread(values: np.ndarray) -> str:
    deviation = f" ± {_short(float(values.std(ddof=1)))}" if len(values) > 1 else ""
    return f"{_short(float(values.mean()))}{deviation}"


def _short(value: float) -> str:
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}" if 0 < value < 1 else f"{value:.2f}"


def _changes(changes: Sequence[float | None]) -> str:
    known = [change for change in changes if change is not None]
    return f"{np.mean(known):+.2f} ± {np.std(known, ddof=1):.2f}" if len(known) > 1 else f"{known[0]:+.2f}" if known else "–"
