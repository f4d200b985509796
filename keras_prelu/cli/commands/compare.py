"""`keras-prelu compare`: test whether one model is better than another."""

from __future__ import annotations

from typing import Any

import click

from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import MODEL
from keras_prelu.cli.options.numbers import NOT_NEGATIVE, number_option
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("compare")
@click.argument("first", metavar="A", type=MODEL)
@click.argument("second", metavar="B", type=MODEL)
@data_options("Labelled samples that neither model was trained on")
@click.option(
    "--loss",
    help="Keras loss, or module:function, for models that are not classifiers.  [default: the one"
    " that A is compiled with]",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Metric that decides alone: one that A is compiled with, any of Keras's, or module:name of"
    " yours.  [default: accuracy or loss, and all that A is compiled with]",
)
@number_option(
    "--margin",
    NOT_NEGATIVE,
    default=0.01,
    help="Largest difference that does not matter: of accuracies, or of losses relative to B's.",
)
@session_options
def command(
    first: ModelName,
    second: ModelName,
    data: DataOptions,
    loss: str | None,
    metric: str | None,
    margin: float,
    session: SessionOptions,
) -> None:
    """Test whether model A is better than model B on the test samples of DATA, or on all samples if
    DATA has no test part. Samples that a model was fine-tuned on are left out, by the record that
    `finetune` writes beside it.

    \b
    Example:
      keras-prelu compare model.finetuned.keras model.keras --data digits
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.sample_records import unseen_samples
    from keras_prelu.cli.tables import number, print_table
    from keras_prelu.diagnostics.comparison import compare

    a, b = session.load_model(first), session.load_model(second)
    dataset = data.load_labelled(a)
    samples, caution = unseen_samples(dataset.test or dataset.train, [first, second])
    result = compare(
        a,
        b,
        samples,
        loss=session.load_loss(loss),
        metric=session.load_metric(metric),
        margin=margin,
    )
    verdict = " ".join(filter(None, [result.sentence(str(first), str(second)), caution]))
    costs = [_cost(a, first), _cost(b, second)]
    if session.json:
        print_json({"verdict": verdict, "comparison": result, "models": costs})
        return
    print_table(
        f"{result.samples:,} samples of {data.source}",
        ["model", result.metric, "parameters", "file (kB)"],
        [
            [
                cost["path"],
                number(score),
                f"{cost['parameters']:,}",
                "–" if cost["bytes"] is None else f"{cost['bytes'] / 1000:,.1f}",
            ]
            for cost, score in zip(costs, (result.a, result.b), strict=True)
        ],
        right=[result.metric, "parameters", "file (kB)"],
    )
    echo(verdict)


def _cost(model: Any, name: ModelName) -> dict[str, Any]:
    size = name.path.stat().st_size if name.is_file and name.path.is_file() else None
    return {"path": name, "parameters": model.count_params(), "bytes": size}
