"""`keras-prelu evaluate`: evaluate a model on labelled samples."""

from __future__ import annotations

import dataclasses

import click

from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import model_argument
from keras_prelu.cli.options.numbers import COUNT, number_option
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("evaluate")
@model_argument
@data_options("Labelled samples")
@click.option(
    "--loss", help="Keras loss, or module:function.  [default: the one that MODEL is compiled with]"
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Further metric, which comes first: any of Keras's, or module:name of yours.  [default:"
    " those that MODEL is compiled with]",
)
@number_option("--batch-size", COUNT, default=32, help="Samples per batch.")
@session_options
def command(
    model: ModelName,
    data: DataOptions,
    loss: str | None,
    metric: str | None,
    batch_size: int,
    session: SessionOptions,
) -> None:
    """Evaluate MODEL on the test samples of DATA, or on all samples if DATA has no test part;
    samples that it was fine-tuned on are left out, by the record that `finetune` writes beside it.

    \b
    Example:
      keras-prelu evaluate model.prelu.keras --data digits
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.sample_records import unseen_samples
    from keras_prelu.cli.tables import print_tables
    from keras_prelu.diagnostics.evaluation import evaluate

    loaded = session.load_model(model)
    dataset = data.load_labelled(loaded)
    samples, caution = unseen_samples(dataset.test or dataset.train, [model])
    evaluation = evaluate(
        loaded,
        samples,
        loss=session.load_loss(loss),
        metric=session.load_metric(metric),
        batch_size=batch_size,
    )
    if session.json:
        print_json(
            {
                "model": model,
                "data": data.source,
                "samples": evaluation.samples,
                "metrics": evaluation.metrics,
                "caution": caution,
            }
        )
        return
    (table,) = evaluation.tables()
    title = f"{model} on {evaluation.samples} samples of {data.source}"
    print_tables([dataclasses.replace(table, title=title)])
    if caution:
        echo(caution)
