"""`python -m tools.large_data`: read a large data set in several ways; write what that costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tools.common.machine import describe, machine
from tools.large_data.worker import BATCH, WAYS

FOLDER = Path(__file__).parent
_IMAGES = 50_000
_TRIAL = 512


@click.command()
@click.option("--trial", is_flag=True, help="Measure little, to check that everything runs.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the results.")
@click.option("--note", default="", help="A sentence on the measurement, for the report.")
@click.option("--repeats", type=int, default=3, show_default=True, help="Times in turn.")
def main(trial: bool, output: Path | None, note: str, repeats: int) -> None:
    """Measure the peak of memory and the rate of one epoch of images of TensorFlow Datasets.

    Takes ten minutes on two cores. Each way runs in a process of its own, in turn.
    """
    images = _TRIAL if trial else _IMAGES
    if trial and output is None:
        output = Path(tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as data:
        formats = {
            way: "tfrecord" if way in ("random-tfrecord", "tf.data") else "array_record"
            for way in WAYS
        }
        for name in dict.fromkeys(formats.values()):
            _run("prepare", name, str(images), f"{data}/{name}")
        records = [
            json.loads(_run(way, str(images), f"{data}/{formats[way]}").splitlines()[-1])
            for _ in range(1 if trial else repeats)
            for way in WAYS
        ]
    folder = output or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        "machine": describe([machine("tensorflow-datasets", "array_record")]),
        "note": f" {note}" if note else "",
        "runs": records,
    }
    (folder / "results.json").write_text(json.dumps(stored, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(_report(stored))
    click.echo(f"Wrote {folder / 'RESULTS.md'}.")


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "tools.large_data.worker", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def _report(stored: dict) -> str:
    runs = stored["runs"]
    lines = [
        "# Reading images that do not fit into memory",
        "",
        f"One epoch of {runs[0]['images']:,} JPEG images of 64 × 64 × 3 (generated, 8 shards) as",
        f"batches of {BATCH} float32 images, by `python -m tools.large_data`. The peak is that of",
        "the whole process, with Python and all libraries in it. Rates are the range over",
        f"runs in turn. {stored['machine']}.{stored.get('note', '')}",
        "",
        "| way | runs | images per second | peak memory (MB) |",
        "|---|---|---|---|",
    ]
    for way, description in WAYS.items():
        of_way = [run for run in runs if run["way"] == way]
        rates = sorted(run["images"] / run["seconds"] for run in of_way)
        peak = max(run["peak_bytes"] for run in of_way) / 1e6
        rate = f"{rates[0]:,.0f} to {rates[-1]:,.0f}" if len(rates) > 1 else f"{rates[0]:,.0f}"
        lines.append(f"| {description} | {len(of_way)} | {rate} | {peak:,.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
