"""The tables, in Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.deployment.matrix import SIZE, SLOPES, Row
from tools.deployment.ranges import REPRESENTATIVE, Int8

_ACTIVATIONS = {"PReLU", "PRELU", "PRelu", "MINIMUM", "Min", "LEAKY_RELU", "LeakyRelu", "LeakyReLU"}


@dataclass(frozen=True)
class Results:
    """All that was measured."""

    matrix: tuple[Row, ...] = ()
    int8: tuple[Int8, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Results:
        """What is stored in a folder, nothing where there is no file."""
        path = folder / "results.json"
        if not path.exists():
            return cls()
        stored = json.loads(path.read_text())
        return cls(
            tuple(Row(**row) for row in stored["matrix"]),
            tuple(Int8(**item) for item in stored["int8"]),
        )

    def save(self, folder: Path) -> None:
        """As results.json, and as tables in RESULTS.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        (folder / "RESULTS.md").write_text(markdown(self))


def markdown(results: Results) -> str:
    parts = [["# What exported networks compute and cost"]]
    parts += [_matrix(results.matrix)] if results.matrix else []
    parts += [_int8(results.int8)] if results.int8 else []
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _matrix(rows: Sequence[Row]) -> list[str]:
    runtimes = sorted({row.runtime for row in rows if row.runtime})
    lines = [
        f"Written by `python -m tools.deployment` ({', '.join(runtimes)}).",
        (
            "The networks of `keras.applications` that apply ReLU, but for the four deepest, for"
            f" images of {SIZE} × {SIZE} pixels, with"
        ),
        (
            f"random weights and a slope for each channel between {SLOPES[0]:g} and {SLOPES[1]:g},"
            " as logits."
        ),
        "",
        (
            "Difference: the largest to Keras, over the largest output, on 8 images. Time: of one"
            " image on one thread (a SavedModel's on"
        ),
        (
            "all), over that of the same network with ReLUs in the same format: both in turn,"
            " median of the ratio and its quartiles. Size: of"
        ),
        "the files, over the same.",
        '"for cpu": `optimize_for="cpu"`.',
        "",
        (
            "| network | sites (capped) | format | operations for the sites | difference | ms |"
            " time | size |"
        ),
        "|---|---:|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        _line(row, {other.form: other for other in rows if other.network == row.network})
        for row in rows
    ]
    failures = dict.fromkeys(
        f"- {row.network}, {row.form}: {row.failure}" for row in rows if row.failure
    )
    return [*lines, *(["", *failures] if failures else [])]


def _line(row: Row, others: dict[str, Row]) -> str:
    known = max(
        others.values(), key=lambda other: other.sites
    )  # a process that was killed told none
    sites = f"{known.sites} ({known.capped})" if known.capped else str(known.sites)
    if row.failure:
        return f"| {row.network} | {sites} | {row.form} | – | – | – | – | – |"
    time = "–" if row.ratio is None else f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]"
    milliseconds = "–" if row.milliseconds is None else f"{row.milliseconds:.3g}"
    size = "–" if row.size_ratio is None else f"{row.size_ratio:.4f}"
    return (
        f"| {row.network} | {sites} | {row.form} | {_operations(row, others)} |"
        f" {row.difference:.1e} | {milliseconds} | {time} | {size} |"
    )


def _operations(row: Row, others: dict[str, Row]) -> str:
    """The operations that do what PReLUs do."""
    if not row.operations:
        return "–"
    if row.form == "onnx, for cpu":
        rest = sum(
            count for kind, count in others["onnx"].operations.items() if kind not in _ACTIVATIONS
        )
        return f"{(sum(row.operations.values()) - rest) / row.sites:.2g} a site"
    caps = {"ReLU"} if row.form == "keras" and row.capped else set()
    return ", ".join(
        f"{count} {kind}" for kind, count in row.operations.items() if kind in _ACTIVATIONS | caps
    )


def _int8(found: Sequence[Int8]) -> list[str]:
    lines = [
        (
            f"int8 TensorFlow Lite files of trained networks, with ranges from {REPRESENTATIVE}"
            " training samples; accuracy in percent on test"
        ),
        (
            "samples; mean ± standard deviation over seeds. Error: mean squared difference to"
            " float32 over the outputs' variance. Range: of"
        ),
        (
            "the activations' outputs, which int8 divides into 255 steps, over the ReLU network's;"
            " the negative side is what widens it."
        ),
        "",
        "| network | activations | range | float32 | int8 | error |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for task, form in dict.fromkeys((item.task, item.form) for item in found):
        items = [item for item in found if (item.task, item.form) == (task, form)]
        patterns: dict[str, Callable[[float], str]] = {
            "width": "{:.2f}".format,
            "floating": "{:.2f}".format,
            "int8": "{:.2f}".format,
            "error": "{:.5f}".format,
        }
        cells = [
            _spread([getattr(item, name) for item in items], pattern)
            for name, pattern in patterns.items()
        ]
        lines.append(f"| {task} | {form} | " + " | ".join(cells) + " |")
    return lines


def _spread(values: Sequence[float], pattern: Callable[[float], str]) -> str:
    return pattern(float(np.mean(values))) + (
        f" ± {pattern(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
    )
