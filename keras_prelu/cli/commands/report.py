"""`keras-prelu report`: write an HTML report on a conversion."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import (
    MODEL,
    force_option,
    model_argument,
    original_option,
    output_option,
)
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("report")
@model_argument
@data_options("Samples that no training used")
@original_option(required=True)
@click.option(
    "--control",
    type=MODEL,
    help="The ReLU model that was fine-tuned with the same budget as MODEL.  [default: the one that"
    " `finetune` wrote beside MODEL, if it did]",
)
@click.option(
    "--loss",
    help="Keras loss, or module:function.  [default: the one that a model is compiled with]",
)
@output_option("MODEL.report.html")
@force_option
@session_options
def command(
    model: ModelName,
    original: ModelName,
    control: ModelName | None,
    loss: str | None,
    output: Path | None,
    force: bool,
    data: DataOptions,
    session: SessionOptions,
) -> None:
    """Write one HTML file that compares MODEL with the model that it was converted from: verdict,
    slopes, dead units, signal, calibration and cost.

    Scores are measured on the test samples of DATA, or on all samples if DATA has no test part;
    samples that a model was fine-tuned on are left out, by the record that `finetune` writes.

    \b
    Example:
      keras-prelu report model.prelu.keras --original model.keras --data digits
    """
    _check_dependencies()
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.finetuned_files import control_beside, read_histories
    from keras_prelu.cli.progress import progress
    from keras_prelu.cli.records import read_calibration
    from keras_prelu.cli.sample_records import unseen_samples
    from keras_prelu.io.model_files import check_output
    from keras_prelu.io.model_names import beside
    from keras_prelu.report.content import gather
    from keras_prelu.report.html import write

    output = output or beside(model, "report").with_suffix(".html")
    check_output(output, force=force, suffix=".html")
    check_run_file(output)
    control = control or control_beside(model)
    converted, relu = session.load_model(model), session.load_model(original)
    dataset = data.load_labelled(converted)
    paths = [model, original, *([] if control is None else [control])]
    samples, caution = unseen_samples(dataset.test or dataset.train, paths)
    with progress("Measuring"):
        result = gather(
            converted,
            relu,
            samples,
            control=None if control is None else session.load_model(control),
            loss=session.load_loss(loss),
            calibration=read_calibration(model.path) if model.is_file else None,
            title=f"{model.path.name if model.is_file else model}: from ReLU to PReLU",
            made={"Command": " ".join(["keras-prelu", *sys.argv[1:]]), "Data": str(data.source)},
            cautions=[caution] if caution else [],
            histories=read_histories(model),
            seed=session.seed,
        )
        write(result, output, force=force)
    write_run_file(output)
    if session.json:
        print_json({"model": model, "output": output, "report": result})
        return
    for sentence in (*result.sentences, *result.cautions):
        echo(sentence)
    echo(f"Wrote {output} ({output.stat().st_size:,} bytes).")


def _check_dependencies() -> None:
    """Raise an error if a package that reports need is not installed."""
    missing = [
        package for package in ("matplotlib", "jinja2") if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise click.ClickException(
            f"Reports need {' and '.join(missing)}: pip install 'keras-prelu[report]'."
        )
