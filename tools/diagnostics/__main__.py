"""`python -m tools.diagnostics`: what measuring costs on each installed backend; writes RESULTS.md
and results.json."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tools.diagnostics.measure import FULL

BACKENDS = ("tensorflow", "jax", "torch")
_SHARE = 0.03
_INTRODUCTION = f"""# What measuring a network costs

Written by `python -m tools.diagnostics`. The network has nine convolutions with BatchNormalization and PReLU, on images of 32 × 32;
{FULL.samples} samples in batches of {FULL.batch}; medians, and the ratio's quartiles over {FULL.rounds} rounds, in turn with `predict`
over the same samples, everything compiled before. The last row compiles its gradients anew each time.

"""
_CALLBACK = f"""
`callbacks.SlopeMonitor`, writing both files after each epoch: how many train steps (batches of {FULL.batch}) one record takes, without
samples and with the {FULL.samples}; from how many steps an epoch on that is less than {_SHARE:.0%} of it; and the seconds of the first,
which compiles.

"""


@click.command()
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(BACKENDS),
    help="Measure this one. Default: all installed.",
)
@click.option(
    "--trial",
    is_flag=True,
    help="Small and few, to see that everything runs; the figures mean nothing.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(backends: tuple[str, ...], trial: bool, output: Path) -> None:
    """Measure what diagnostics and the callback cost. A few minutes on two cores; nothing else
    should run meanwhile."""
    installed = [name for name in backends or BACKENDS if importlib.util.find_spec(name)]
    results = [_measure(backend, trial) for backend in installed]
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (output / "RESULTS.md").write_text(markdown(results))
    click.echo(markdown(results))


def _measure(backend: str, trial: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.diagnostics.measure", *(["--trial"] if trial else [])]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "KERAS_BACKEND": backend}
    )
    if result.returncode:
        raise click.ClickException(f"Measuring {backend} failed:\n{result.stderr}")
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Both tables."""
    names = [result["backend"] for result in results]
    lines = [f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for measure in results[0]["ratios"]:
        cells = []
        for result in results:
            milliseconds, low, ratio, high = result["ratios"][measure]
            cells.append(
                f"{milliseconds:.0f} ms"
                if measure == "predict"
                else f"{ratio:.2f} ({low:.2f}–{high:.2f})"
            )
        lines.append(f"| {measure} | {' | '.join(cells)} |")
    callback = [
        "| backend | train step | slopes alone | with samples | epochs from | first |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        found = result["record"]
        cells = [
            f"{1e3 * found['step']:.0f} ms",
            f"{found['slopes']:.2f} steps",
            f"{found['samples']:.2f} steps",
        ]
        cells += [f"{found['samples'] / _SHARE:.0f} steps", f"{found['first']:.1f} s"]
        callback.append(f"| {result['backend']} | {' | '.join(cells)} |")
    versions = f"\nKeras {', '.join(sorted({result['keras'] for result in results}))}.\n"
    return (
        _INTRODUCTION + "\n".join(lines) + "\n" + _CALLBACK + "\n".join(callback) + "\n" + versions
    )


if __name__ == "__main__":
    main()
