"""`python -m tools.gpu`: time and memory of a training step of ResNet50 on the device that Keras's
backend uses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click


@click.command()
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
def main(trial: bool, output: Path) -> None:
    """Measure with the backend of KERAS_BACKEND; the results of other backends in the folder are
    kept."""
    from tools.bench.worker import machine
    from tools.gpu.step import Setting, steps

    setting = Setting(size=32, batch=1, policy="float32", rounds=2) if trial else Setting()
    measured = steps(setting)
    # Asking JAX for its device takes most of the memory, which the processes that were measured
    # needed
    where = machine()
    found = {
        "machine": dataclasses.asdict(where),
        "setting": dataclasses.asdict(setting),
        "steps": [dataclasses.asdict(step) for step in measured],
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    backend = next(name for name in ("tensorflow", "jax", "torch") if name in where.versions)
    results[backend] = found
    path.write_text(json.dumps(results, indent=1) + "\n")
    (output / "RESULTS.md").write_text(markdown(results))
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


def markdown(results: dict) -> str:
    """The table."""
    lines = [
        "# A training step of ResNet50",
        "",
        (
            "Written by `KERAS_BACKEND=jax python -m tools.gpu` and the same with torch. Median of"
            " steps taken in turn; ratio to ReLU round by"
        ),
        "round with its quartiles; the most device memory of a process of its own.",
        "",
        "| backend | device | images | policy | activation | ms | ratio | memory, GB | ratio |",
        "|---|---|---|---|---|---:|---:|---:|---:|",
    ]
    for backend, found in sorted(results.items()):
        setting, steps = found["setting"], found["steps"]
        relu = next(step for step in steps if step["activation"] == "ReLU")
        for step in steps:
            memory = (
                ["–", "–"]
                if not step["bytes"]
                else [f"{step['bytes'] / 1e9:.2f}", f"{step['bytes'] / relu['bytes']:.2f}"]
            )
            cells = [
                backend,
                found["machine"]["device"],
                f"{setting['batch']} × {setting['size']}²",
                setting["policy"],
                step["activation"],
                f"{step['milliseconds']:.1f}",
                f"{step['ratio']:.2f} ({step['low']:.2f}–{step['high']:.2f})",
                *memory,
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
