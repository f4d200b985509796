"""`python -m tools.calibration`: train, convert, calibrate, and write RESULTS.md and results.json."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path

import click


@click.command()
@click.option("--seeds", default=3, show_default=True, help="Trainings of each network.")
@click.option("--only", default="", metavar="TEXT", help="Networks whose name contains this.")
@click.option("--depth", "depths", multiple=True, type=int, default=(10, 20, 40, 80), show_default=True, help="Convolutions, for the cost.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path(__file__).parent, help="Folder of the results.")
def main(seeds: int, only: str, depths: tuple[int, ...], output: Path) -> None:
    """Measure what calibration keeps of a network's function. About ten minutes on two cores."""
    warnings.simplefilter("ignore")
    from tools.calibration.measure import cost, kept
    from tools.calibration.report import CURVE, markdown
    from tools.calibration.tasks import tasks, trained

    found = []
    for task in tasks():
        if only not in task.name:
            continue
        counts = CURVE if task.name.startswith("digits conv") else ()
        for seed in range(seeds):
            found += list(kept(task, seed, trained(task, seed), counts))
            click.echo(f"{task.name}, seed {seed}: error {found[-1].error:.2g}", err=True)
    costs = [cost(layers) for layers in depths]
    output.mkdir(parents=True, exist_ok=True)
    records = {"kept": [dataclasses.asdict(item) for item in found], "cost": [dataclasses.asdict(item) for item in costs]}
    (output / "results.json").write_text(json.dumps(records, indent=1) + "\n")
    (output / "RESULTS.md").write_text(markdown(found, costs))
    click.echo(f"Wrote {output / 'RESULTS.md'}.")


if __name__ == "__main__":
    main()
