"""`keras-prelu export`: a model for another runtime, checked there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.data import DataOptions, data_options
from keras_prelu.cli.pruning import prune_option
from keras_prelu.cli.session import Session, session_options

__all__ = ["FORMATS", "QUANTIZATIONS", "command"]

FORMATS = ("keras", "saved_model", "tflite", "onnx", "openvino", "torch")
QUANTIZATIONS = ("float16", "dynamic", "int8")


@click.command("export")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Where to write: .keras, .tflite, .onnx, .xml (OpenVINO), .pt2 (PyTorch), or a folder.",
)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Defaults to the output's suffix."
)
@click.option(
    "--quantize", type=click.Choice(QUANTIZATIONS), help="For .tflite: what its numbers become."
)
@data_options("Samples to check and to quantize with", required=False)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="How many of them.",
)
@prune_option
@click.option(
    "--opset", type=click.IntRange(min=7), help="For .onnx: the version of its operators."
)
@click.option(
    "--optimize-for",
    type=click.Choice(["cpu"]),
    help="For .onnx: activations as onnxruntime is fastest at on CPUs.",
)
@click.option(
    "--measure", is_flag=True, help="Time the file beside that of the same network with ReLUs."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="The largest difference that is accepted, relative to the largest output.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@session_options
def command(
    model: Path,
    output: Path,
    format_: str | None,
    quantize: str | None,
    data: DataOptions,
    samples: int,
    prune: float,
    opset: int | None,
    optimize_for: str | None,
    measure: bool,
    tolerance: float | None,
    force: bool,
    session: Session,
) -> None:
    """Write MODEL for another runtime, run it there, and say by how much its outputs differ. What
    computes something else is not kept.

    \b
    Examples:
      keras-prelu export model.prelu.keras -o model.onnx --optimize-for cpu --measure
      keras-prelu export model.prelu.keras -o model.tflite --quantize int8 --data samples.npz
    """
    import numpy as np

    from keras_prelu.cli.console import print_json
    from keras_prelu.deployment.arguments import check_export
    from keras_prelu.deployment.export import export
    from keras_prelu.io.model_files import load_model

    check_export(
        output,
        format_,
        quantize=quantize,
        opset=opset,
        optimize_for=optimize_for,
        measure=measure,
        force=force,
    )
    loaded = load_model(model, allow_unsafe=session.allow_unsafe)
    inputs = labels = None
    if data.source:
        train = data.load(loaded).train
        chosen = train.take(np.random.default_rng(session.seed).permutation(len(train))[:samples])
        inputs, labels = chosen.x, _class_numbers(chosen.y, loaded)
    result = export(
        loaded,
        output,
        format_,
        quantize=quantize,
        samples=inputs,
        labels=labels,
        prune=prune,
        opset=opset,
        optimize_for=optimize_for,
        measure=measure,
        tolerance=tolerance,
        force=force,
    )
    if session.json:
        print_json(result)
        return
    _print(result)
    click.echo(f"Wrote {output} ({result.bytes:,} bytes).")


def _class_numbers(labels: Any, model: Any) -> Any:
    """The labels of a classifier that are class numbers, None of anything else."""
    import numpy as np

    outputs = getattr(model, "outputs", None) or []
    if labels is None or len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].shape[1] < 2:
        return None
    array = np.asarray(labels)
    return array if array.dtype.kind in "iu" and array.size == len(array) else None


def _print(result: Any) -> None:
    from keras_prelu.cli.console import number, print_table

    if result.operations:
        rows = [[kind, str(count)] for kind, count in result.operations.items()]
        print_table("What is in it", ["operation", "count"], rows, right=["count"])
    samples = f"{result.samples} random samples" if result.random else f"{result.samples} samples"
    click.echo(
        f"{result.runtime} on {samples}: largest difference {number(result.difference, 2)} of the"
        f" largest output ({number(result.tolerance)} allowed), {number(result.error, 2)} of the"
        " outputs' variance."
    )
    if result.accuracy is not None:
        click.echo(
            f"Accuracy on them: {result.accuracy:.2f} %; of the model"
            f" {result.accuracy_of_model:.2f} %."
        )
    if result.pruning_error is not None:
        click.echo(
            f"Against the pruned model; pruning itself changed {number(result.pruning_error, 2)} of"
            " the outputs' variance."
        )
    if result.cost is not None:
        cost = result.cost
        times = (
            f"{number(cost.milliseconds, 3)} ms, with ReLUs"
            f" {number(cost.milliseconds_with_relu, 3)} ms"
        )
        where = "" if cost.threads is None else " on one thread"
        click.echo(
            f"One sample{where}: {times}: {cost.ratio:.2f} times as long (quartiles {cost.low:.2f}"
            f" to {cost.high:.2f}). The file is {cost.size_ratio:.3f} times as large."
        )
