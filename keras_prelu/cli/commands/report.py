"""`keras-prelu report`: a page about a conversion."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("report")
@click.argument("model", type=click.Path(path_type=Path))
@data_options("Samples that no training has seen")
@click.option(
    "--original",
    type=click.Path(path_type=Path),
    required=True,
    help="The ReLU model that MODEL was made from.",
)
@click.option(
    "--control",
    type=click.Path(path_type=Path),
    help="The ReLU model fine-tuned as long as MODEL was.",
)
@click.option("--loss", help="Keras loss.  [default: the one a model is compiled with]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where to write.  [default: MODEL.report.html beside MODEL]",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@session_options
def command(
    model: Path,
    original: Path,
    control: Path | None,
    loss: str | None,
    output: Path | None,
    force: bool,
    data: DataOptions,
    session: Session,
) -> None:
    """Write one HTML file about MODEL beside the model it was made from: verdict, slopes, dead
    units, signal, calibration, cost.

    Scores come from the data's test samples, or from all samples where there is no test part.

    \b
    Example:
      keras-prelu report model.prelu.keras --original model.keras --data digits
    """
    missing = [
        package for package in ("matplotlib", "jinja2") if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise click.ClickException(
            f"Reports need {' and '.join(missing)}: pip install 'keras-prelu[report]'."
        )
    from keras_prelu.cli.console import print_json, progress
    from keras_prelu.io.model_files import check_output, load_model
    from keras_prelu.report.content import gather
    from keras_prelu.report.html import write

    output = output or model.with_name(f"{model.stem}.report.html")
    check_output(output, force=force, suffix=".html")
    converted, relu = (
        load_model(path, allow_unsafe=session.allow_unsafe) for path in (model, original)
    )
    dataset = data.load(converted)
    with progress("Measuring"):
        result = gather(
            converted,
            relu,
            dataset.test or dataset.train,
            control=None
            if control is None
            else load_model(control, allow_unsafe=session.allow_unsafe),
            loss=loss,
            calibration=_calibration(model),
            title=f"{model.name}: from ReLU to PReLU",
            made={"Command": " ".join(["keras-prelu", *sys.argv[1:]]), "Data": str(data.source)},
            seed=session.seed,
        )
        write(result, output, force=force)
    if session.json:
        print_json({"model": model, "output": output, "report": result})
        return
    for sentence in result.sentences:
        click.echo(sentence)
    click.echo(f"Wrote {output} ({output.stat().st_size:,} bytes).")


def _calibration(model: Path) -> Any:
    """The record that a calibration stored beside the model, or None."""
    import json

    from keras_prelu.calibration.records import Calibration, LayerCalibration
    from keras_prelu.cli.calibration import record_path

    try:
        stored = json.loads(record_path(model).read_text(encoding="utf-8"))
        layers = tuple(LayerCalibration(**layer) for layer in stored.pop("layers"))
        return Calibration(layers=layers, **stored)
    except (OSError, ValueError, TypeError, KeyError):  # none, or none of ours
        return None
