"""`python -m tools.scale`: time by the number of layers, conversion beside loading and saving, peak
memory; writes RESULTS.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import click

DEPTHS = (1000, 2000, 4000)
NETWORKS = ("ResNet152", "VGG16")
GIVES_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}  # glibc returns freed memory at once
BACKENDS = ("tensorflow", "torch")


@click.command()
@click.option(
    "--repeat",
    default=3,
    show_default=True,
    help="Processes for each depth, of which the median counts.",
)
@click.option("--rounds", default=7, show_default=True, help="Rounds of ResNet50.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(repeat: int, rounds: int, output: Path) -> None:
    """Measure what converting a file costs. About ten minutes on two cores; nothing else should run
    meanwhile."""
    depths = {layers: [_measure("depth", str(layers)) for _ in range(repeat)] for layers in DEPTHS}
    resnet = _measure("resnet", str(rounds))
    memory = {
        (backend, network): _measure("memory", network, backend=backend)
        for backend in BACKENDS
        for network in NETWORKS
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "RESULTS.md").write_text(_markdown(depths, resnet, memory))
    click.echo((output / "RESULTS.md").read_text())


def _measure(*arguments: str, backend: str = "tensorflow") -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.scale.measure", *arguments]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            **(GIVES_BACK if arguments[0] == "memory" else {}),
        },
    )
    if result.returncode:
        raise click.ClickException(f"Measuring {' '.join(arguments)} failed:\n{result.stderr}")
    record: dict[str, Any] = json.loads(result.stdout)
    click.echo(f"{backend} {' '.join(arguments)}: {record}", err=True)
    return record


def _markdown(
    depths: dict[int, list[dict[str, float]]],
    resnet: dict[str, float],
    memory: dict[tuple[str, str], dict[str, float]],
) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", *BACKENDS))
    lines = [
        "# What converting a file costs",
        "",
        f"Written by `python -m tools.scale` ({versions}).",
        "",
        (
            "Seconds for a file of so many layers in a row (Dense and ReLU in turn; median of"
            " processes; the last column is the ratio of the"
        ),
        f"sum to that of {DEPTHS[0]:,} layers):",
        "",
        "| layers | load | convert | save | all | ratio |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    first = _total(depths[DEPTHS[0]])
    for layers, records in depths.items():
        steps = " | ".join(
            f"{median(record[step] for record in records):.2f}"
            for step in ("load", "convert", "save")
        )
        lines.append(
            f"| {layers:,} | {steps} | {_total(records):.2f} | {_total(records) / first:.2f} |"
        )
    lines += [
        "",
        (
            "ResNet50, load + convert + save over load + save, taken in turn:"
            f" **{resnet['median']:.2f}** (quartiles {resnet['low']:.2f} to {resnet['high']:.2f})."
        ),
        "",
        (
            "Peak memory above what the process took before, as a multiple of the weights. Keras"
            " alone decides the first and the last step: it"
        ),
        (
            "reads and writes the weights through a buffer of the whole file where memory allows."
            " While converting there are the original's"
        ),
        (
            "weights and the new model's, 2.0. TensorFlow keeps what it freed while loading and"
            " uses it again, so its peak while converting is"
        ),
        "mostly what loading left (the column before); on PyTorch freed memory goes back.",
        "",
        (
            "| backend | network | weights, MB | while loading | before converting | while"
            " converting | while saving |"
        ),
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (backend, network), record in memory.items():
        steps = " | ".join(f"{record[step]:.2f}" for step in ("load", "loaded", "convert", "save"))
        lines.append(f"| {backend} | {network} | {record['weights']:.0f} | {steps} |")
    return "\n".join([*lines, ""])


def _total(records: list[dict[str, float]]) -> float:
    return median(sum(record.values()) for record in records)


if __name__ == "__main__":
    main()
