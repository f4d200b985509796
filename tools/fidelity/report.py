"""The tables, in Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

from tools.calibration.applications import BATCH, SIZE, STEPS, Application
from tools.calibration.measure import ALPHA, SAMPLES, Cost, Kept, Memory
from tools.calibration.quantization import Quantized

CURVE = (16, 32, 64, 128, 256)
_WAYS = ("none", "analytic", "moments", "calibrated", "auto")


@dataclass(frozen=True)
class Results:
    """All that was measured, part by part."""

    kept: tuple[Kept, ...] = ()
    quantized: tuple[Quantized, ...] = ()
    applications: tuple[Application, ...] = ()
    cost: tuple[Cost, ...] = ()
    memory: tuple[Memory, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Results:
        """What is stored in a folder, nothing where there is no file."""
        path = folder / "results.json"
        if not path.exists():
            return cls()
        kinds = {
            "kept": Kept,
            "quantized": Quantized,
            "applications": Application,
            "cost": Cost,
            "memory": Memory,
        }
        return cls(
            **{
                name: tuple(kinds[name](**record) for record in records)
                for name, records in json.loads(path.read_text()).items()
            }
        )

    def save(self, folder: Path) -> None:
        """As results.json, and as tables in RESULTS.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        (folder / "RESULTS.md").write_text(markdown(self))


def markdown(results: Results) -> str:
    parts = [_head()]
    parts += [_kept(results.kept), _curve(results.kept)] if results.kept else []
    parts += [_applications(results.applications)] if results.applications else []
    parts += [_cost(results.cost)] if results.cost else []
    parts += [_memory(results.memory)] if results.memory else []
    parts += [_quantized(results.quantized)] if results.quantized else []
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head() -> list[str]:
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("keras", keras.backend.backend())
    )
    return [
        "# What a conversion keeps of a network's function",
        "",
        (
            f"Written by `python -m tools.calibration` ({versions}). Trained networks, all slopes"
            f" set to {ALPHA:g}, no training afterwards;"
        ),
        (
            f"{SAMPLES} unlabeled training samples where data is used; measured on test samples"
            " that nothing else saw. Error: mean squared"
        ),
        (
            "change of the outputs over their variance; mean ± standard deviation over seeds."
            " Accuracy changes are in percentage points."
        ),
        (
            f'"auto": the largest slopes up to {ALPHA:g} whose loss held-out samples can\'t tell'
            ' from none (`alpha="auto"`), with their mean.'
        ),
    ]


def _kept(found: Sequence[Kept]) -> list[str]:
    lines = [
        "| network | "
        + " | ".join(_WAYS)
        + " | none over calibrated | slopes, auto | accuracy, "
        + " | accuracy, ".join(_WAYS)
        + " |",
        "|---|" + "---:|" * (2 * len(_WAYS) + 2),
    ]
    for task in dict.fromkeys(item.task for item in found):
        of_task = {
            way: [
                item for item in found if item.task == task and _main(item) and item.rescale == way
            ]
            for way in _WAYS
        }
        errors = {way: np.array([item.error for item in items]) for way, items in of_task.items()}
        changes = [_changes([item.accuracy_change for item in items]) for items in of_task.values()]
        ratio = f"{errors['none'].mean() / errors['calibrated'].mean():.0f}"
        slopes = _spread(np.array([item.slope for item in of_task["auto"]]))
        lines.append(
            "| "
            + " | ".join(
                [task, *(_spread(values) for values in errors.values()), ratio, slopes, *changes]
            )
            + " |"
        )
    return lines


def _curve(found: Sequence[Kept]) -> list[str]:
    lines = [
        "Error of the calibrated network by the number of samples:",
        "",
        "| network | " + " | ".join(map(str, (*CURVE, SAMPLES))) + " |",
    ]
    lines.append("|---|" + "---:|" * (len(CURVE) + 1))
    for task in dict.fromkeys(item.task for item in found if item.samples in CURVE):
        items = [item for item in found if item.task == task and item.rescale == "calibrated"]
        cells = [
            _spread(np.array([item.error for item in items if item.samples == count]))
            for count in (*CURVE, SAMPLES)
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def _applications(found: Sequence[Application]) -> list[str]:
    return [
        (
            f"All networks of `keras.applications` that apply ReLU, on {SIZE} × {SIZE} crops of"
            " photographs (the smallest that Xception and"
        ),
        (
            "the Inceptions take), twelve classes, trained until every second crop is right, at"
            f" most {STEPS} steps of {BATCH}; one seed:"
        ),
        "",
        "| network | sites | accuracy of the original | rescale | mean slope | error | accuracy |",
        "|---|---:|---:|---|---:|---:|---:|",
        *(
            f"| {item.name} | {item.sites} | {item.accuracy:.1f} % | {item.rescale} |"
            f" {item.slope:.3f} | {_short(item.error)} | {item.accuracy_change:+.1f} |"
            for item in found
        ),
    ]


def _cost(costs: Sequence[Cost]) -> list[str]:
    lines = [
        (
            "Cost of calibrating a chain of 3 × 3 convolutions with BatchNormalization, 32"
            f" channels, on {SAMPLES} images of 16 × 16 pixels:"
        ),
        "",
        "| convolutions | seconds | passes of `predict` over the same samples |",
        "|---:|---:|---:|",
        *(f"| {item.layers} | {item.seconds:.1f} | {item.predictions:.0f} |" for item in costs),
    ]
    if len(costs) > 1:
        exponent = np.polyfit(
            np.log([item.layers for item in costs]), np.log([item.seconds for item in costs]), 1
        )[0]
        lines += ["", f"Time grows with depth to the power {exponent:.2f}."]
    return lines


def _memory(used: Sequence[Memory]) -> list[str]:
    names = {
        "predict": "the original on all samples at once",
        "calibrate": "calibrating",
        "spilled": "calibrating, 700 MB of activations in memory",
    }
    weights = {(item.samples, item.weights) for item in used if item.what != "predict"}
    same = len(weights) == len({samples for samples, _ in weights})
    return [
        "Peak memory over what the process had before, a chain of 10 such convolutions; the weights"
        " under the limit are " + ("the same bit for bit:" if same else "OTHER ones:"),
        "",
        "| what | samples | GB |",
        "|---|---:|---:|",
        *(f"| {names[item.what]} | {item.samples:,} | {item.bytes / 1e9:.2f} |" for item in used),
    ]


def _quantized(found: Sequence[Quantized]) -> list[str]:
    lines = [
        (
            "Accuracy in percent of per-tensor int8 files in TensorFlow Lite's interpreter, whose"
            " channels were scaled by 0.1 to 10"
        ),
        "without changing what they compute; PReLU as TensorFlow Lite's own operation:",
        "",
        "| network | float32 | int8 | int8 after `kp.equalize` |",
        "|---|---:|---:|---:|",
    ]
    for task in dict.fromkeys(item.task for item in found):
        items = [item for item in found if item.task == task]
        cells = [
            _percent([getattr(item, name) for item in items])
            for name in ("floating", "int8", "equalized")
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def _main(item: Kept) -> bool:
    return item.rescale != "calibrated" or item.samples not in CURVE


def _percent(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1f}" + (
        f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    )


def _spread(values: np.ndarray) -> str:
    deviation = f" ± {_short(float(values.std(ddof=1)))}" if len(values) > 1 else ""
    return f"{_short(float(values.mean()))}{deviation}"


def _short(value: float) -> str:
    return (
        f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}"
        if 0 < value < 1
        else f"{value:.2f}"
    )


def _changes(changes: Sequence[float | None]) -> str:
    known = [change for change in changes if change is not None]
    return (
        f"{np.mean(known):+.2f} ± {np.std(known, ddof=1):.2f}"
        if len(known) > 1
        else f"{known[0]:+.2f}"
        if known
        else "–"
    )
