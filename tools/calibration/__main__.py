"""`python -m tools.calibration`: train, convert, calibrate, and write RESULTS.md and results.json."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import click

NAMES = ("ResNet50", "DenseNet121", "MobileNetV2")
QUANTIZED = ("digits conv", "digits MLP")


@click.command()
@click.option("--seeds", default=3, show_default=True, help="Trainings of each network.")
@click.option("--only", default="", metavar="TEXT", help="Networks whose name contains this.")
@click.option(
    "--depth", "depths", multiple=True, type=int, default=(10, 20, 40, 50, 80), show_default=True, help="Convolutions, for the cost."
)
@click.option("--application", "names", multiple=True, default=NAMES, show_default=True, help="Networks of keras.applications.")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Whether memory is measured (Linux; 4 GB).")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path(__file__).parent, help="Folder of the results.")
def main(seeds: int, only: str, depths: tuple[int, ...], names: tuple[str, ...], memory: bool, output: Path) -> None:
    """Measure what calibration keeps of a network's function. About twenty minutes on two cores; nothing else should run meanwhile."""
    warnings.simplefilter("ignore")
    from tools.calibration.applications import applications
    from tools.calibration.measure import Memory, cost, kept
    from tools.calibration.quantization import quantized
    from tools.calibration.report import CURVE, Results, markdown
    from tools.calibration.tasks import tasks, trained

    costs = [cost(layers) for layers in depths]
    found, rounded = [], []
    for task in tasks():
        if only not in task.name:
            continue
        counts = CURVE if task.name.startswith("digits conv") else ()
        for seed in range(seeds):
            model = trained(task, seed)
            found += list(kept(task, seed, model, counts))
            if task.name in QUANTIZED:
                rounded.append(quantized(task, seed, model))
            click.echo(f"{task.name}, seed {seed}: error {found[-1].error:.2g}", err=True)
    large = [item for name in names for item in applications(name)]
    used = [Memory(what, samples, **_memory(what, samples)) for what, samples in MEMORY] if memory else []
    results = Results(tuple(found), tuple(rounded), tuple(large), tuple(costs), tuple(used))
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")
    (output / "RESULTS.md").write_text(markdown(results))
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


MEMORY = (("predict", 2000), ("calibrate", 2000), ("calibrate", 20000), ("spilled", 20000))


def _memory(what: str, samples: int) -> dict[str, object]:
    command = [sys.executable, "-m", "tools.calibration.memory", what, str(samples)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise click.ClickException(f"Measuring memory failed:\n{result.stderr}")
    found: dict[str, object] = json.loads(result.stdout)
    return found


if __name__ == "__main__":
    main()
