"""`keras-prelu export`: export a model to another runtime, and check it there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.options.data import DataOptions, data_options
from keras_prelu.cli.options.files import force_option, model_argument, prune_option
from keras_prelu.cli.options.numbers import COUNT, NOT_NEGATIVE, number_option
from keras_prelu.cli.options.parameter_types import NamedPath
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.cli.run_files import check_run_file, write_run_file
from keras_prelu.io.model_names import ModelName

__all__ = ["FORMATS", "QUANTIZATIONS", "command"]

# The names repeat those of the package, since importing them would import Keras for --help. A test
# compares them with the package.
FORMATS = ("keras", "saved_model", "tflite", "onnx", "openvino", "torch", "executorch")
QUANTIZATIONS = ("float16", "dynamic", "int8", "int16x8")


@click.command("export")
@model_argument
@click.option(
    "-o",
    "--output",
    type=NamedPath(path_type=Path),
    help="Output, which must be given: .keras, .tflite, .onnx, .xml (OpenVINO), .pt2 (PyTorch),"
    " .pte (ExecuTorch), or a folder (SavedModel).",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Output format.  [default: by the suffix of the output]",
)
@click.option(
    "--quantize", type=click.Choice(QUANTIZATIONS), help="For .tflite: quantization scheme."
)
@data_options("Samples to check and to quantize with", required=False)
@number_option("--samples", COUNT, default=512, help="Largest number of samples to use.")
@prune_option
@click.option("--opset", type=click.IntRange(min=9), help="For .onnx: version of the operator set.")
@click.option(
    "--optimize-for",
    type=click.Choice(["cpu"]),
    help="For .onnx: write PReLU in the form that onnxruntime runs fastest on CPUs.",
)
@click.option(
    "--frozen",
    is_flag=True,
    help="For a SavedModel: write constants instead of variables, which runs faster.",
)
@click.option(
    "--measure", is_flag=True, help="Compare speed and size with the same network with ReLUs."
)
@click.option(
    "--tolerance",
    type=NOT_NEGATIVE,
    help="Largest difference that is accepted, relative to the largest output.",
)
@force_option
@session_options
def command(
    model: ModelName,
    output: Path | None,
    format_: str | None,
    quantize: str | None,
    data: DataOptions,
    samples: int,
    prune: float,
    opset: int | None,
    optimize_for: str | None,
    frozen: bool,
    measure: bool,
    tolerance: float | None,
    force: bool,
    session: SessionOptions,
) -> None:
    """Export MODEL to another runtime, run it there, and report the difference of the outputs. A
    file whose outputs differ by more than the tolerance is not kept.

    If DATA has labels of a classifier, the accuracies of the file and of MODEL are measured: on the
    test samples of DATA, or on all samples if DATA has no test part; samples that MODEL was
    fine-tuned on are left out, by the record that `finetune` writes.

    \b
    Examples:
      keras-prelu export model.prelu.keras -o model.onnx --optimize-for cpu --measure
      keras-prelu export model.prelu.keras -o model.tflite --quantize int8 --data samples.npz
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.cli.drawn_samples import random_indices
    from keras_prelu.deployment.arguments import check_export
    from keras_prelu.deployment.export import export

    settings: dict[str, Any] = {
        "quantize": quantize,
        "opset": opset,
        "optimize_for": optimize_for,
        "frozen": frozen,
        "measure": measure,
        "force": force,
    }
    if output is None:
        raise click.UsageError(
            "Missing option '-o' / '--output'. Its suffix is the format, as in -o model.onnx or -o"
            " model.tflite"
        )
    check_export(output, format_, **settings)
    check_run_file(output)
    loaded = session.load_model(model)
    inputs, test, caution = None, None, ""
    if data.source:
        dataset = data.load(loaded)
        inputs = dataset.train.take(random_indices(dataset.train, samples, session.seed)).x
        test, caution = _test_samples(model, loaded, dataset, samples, session.seed)
    result = export(
        loaded,
        output,
        format_,
        samples=inputs,
        test=test,
        prune=prune,
        tolerance=tolerance,
        **settings,
    )
    write_run_file(output)
    if session.json:
        record = {each.name: getattr(result, each.name) for each in dataclasses.fields(result)}
        print_json({**record, "caution": caution})
        return
    _print_export(result, data.source, caution)
    echo(f"Wrote {output} ({result.bytes:,} bytes).")


def _test_samples(
    name: ModelName, model: Any, dataset: Any, most: int, seed: int
) -> tuple[tuple[Any, Any] | None, str]:
    """Return labelled samples to measure accuracies on, if there are any, and a sentence on those
    that are left out.

    Args:
        name: `ModelName`.
        model: `keras.Model`.
        dataset: `Dataset`.
        most: Integer. Largest number of samples.
        seed: Integer. Seed of the draw.
    """
    from keras_prelu.cli.drawn_samples import class_numbers, random_indices
    from keras_prelu.cli.sample_records import unseen_samples

    samples = dataset.test or dataset.train
    if class_numbers(samples.y, model) is None:
        return None, ""
    unseen, caution = unseen_samples(samples, [name])
    chosen = unseen.take(random_indices(unseen, most, seed))
    return (chosen.x, class_numbers(chosen.y, model)), caution


def _print_export(result: Any, source: str | None, caution: str) -> None:
    from keras_prelu.cli.tables import number, print_table

    if result.operations:
        print_table(
            "Operations", ["operation", "count"], list(result.operations.items()), right=["count"]
        )
    samples = f"{result.samples} random samples" if result.random else f"{result.samples} samples"
    echo(
        f"{result.runtime} on {samples}: largest difference {number(result.difference, 2)} of the"
        f" largest output ({number(result.tolerance)} allowed), {number(result.error, 2)} of the"
        " outputs' variance."
    )
    if result.accuracy is not None:
        echo(
            f"Accuracy on {result.accuracy_samples:,} samples of {source}: {result.accuracy:.2f} %,"
            f" of the model {result.accuracy_of_model:.2f} %.{f' {caution}' if caution else ''}"
        )
    if result.pruning_error is not None:
        echo(
            "These differences are relative to the pruned model; pruning itself changed"
            f" {number(result.pruning_error, 2)} of the outputs' variance."
        )
    if result.cost is not None:
        _print_cost(result.cost)


def _print_cost(cost: Any) -> None:
    from keras_prelu.cli.tables import number

    threads = "" if cost.threads is None else " on one thread"
    echo(
        f"One sample{threads}: {number(cost.milliseconds, 3)} ms of processor time, with ReLUs"
        f" {number(cost.milliseconds_with_relu, 3)} ms: {cost.ratio:.2f} times as long (quartiles"
        f" {cost.low:.2f} to {cost.high:.2f}). The file is {cost.size_ratio:.3f} times as large."
    )
