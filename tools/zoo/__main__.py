"""`python -m tools.zoo`: convert every architecture of keras.applications and KerasHub's ReLU
models, and write down what happened."""

from __future__ import annotations

import dataclasses
import gc
import json
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

import click


@click.command()
@click.option(
    "--only", default="*", show_default=True, metavar="GLOB", help="Networks to try, by name."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(__file__).parent,
    help="Folder of the results.",
)
def main(only: str, output: Path) -> None:
    """Convert all networks, about half an hour on two cores, and write RESULTS.md and
    results.json."""
    warnings.simplefilter("ignore")
    import keras

    from tools.zoo.applications import applications
    from tools.zoo.hub import hub
    from tools.zoo.report import markdown
    from tools.zoo.trial import attempt

    trials = []
    for collection, networks in (("keras.applications", applications()), ("KerasHub", hub())):
        for name, build in networks:
            if not fnmatchcase(name, only):
                continue
            trials.append(attempt(collection, name, build))
            click.echo(
                f"{name}: {trials[-1].converted} of {trials[-1].sites} sites,"
                f" {trials[-1].failure or trials[-1].passed}"
            )
            keras.utils.clear_session()
            gc.collect()
    if not trials:
        raise click.ClickException(f"No network's name matches {only!r}.")
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(
        json.dumps([dataclasses.asdict(trial) for trial in trials], indent=1) + "\n"
    )
    (output / "RESULTS.md").write_text(markdown(trials))
    failed = [trial.model for trial in trials if not trial.passed]
    if failed:
        raise click.ClickException(f"Not exact, or failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
