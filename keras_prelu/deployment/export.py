"""Export of models to the formats of other runtimes, which must compute the same outputs."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.bake import check_prune
from keras_prelu.data.declarations import check_model, declares_inputs
from keras_prelu.deployment.arguments import check_export
from keras_prelu.deployment.benchmark import Cost, measure_cost, size_in_bytes
from keras_prelu.deployment.failures import as_export_errors
from keras_prelu.deployment.formats.base import Format, Interface, Runner, Settings
from keras_prelu.deployment.formats.tflite import NEED_SAMPLES
from keras_prelu.deployment.inputs import as_model_inputs, random_inputs
from keras_prelu.deployment.lowering import half_precision, lower_model
from keras_prelu.deployment.other_sizes import inputs_of_other_sizes
from keras_prelu.deployment.outputs import (
    accuracy,
    described_difference,
    largest_difference,
    model_outputs,
    relative_error,
)
from keras_prelu.deployment.records import Export
from keras_prelu.errors import (
    ExportError,
    InvalidArgumentError,
)
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.atomic import atomic_write
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.utils.checks import check_path
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.quiet import silenced
from keras_prelu.utils.user_warnings import warn

__all__ = ["TOLERANCES", "export"]

TOLERANCES = {None: 1e-4, "float16": 1e-2, "dynamic": 0.1, "int8": 0.25, "int16x8": 0.1}
"""By quantization: the largest difference that is accepted, relative to the largest output."""

_HALF_PRECISION_TOLERANCES = {"float16": 1e-2, "bfloat16": 5e-2}
"""By dtype: the same for models whose layers compute in half precision, which rounds that much."""

_MOST_CHECKED = 128


@models_by_name("model")
@keeps_state("model")
def export(
    model: ModelLike,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    quantize: str | None = None,
    samples: Any = None,
    labels: Any = None,
    test: Any = None,
    prune: float = 0.0,
    opset: int | None = None,
    optimize_for: str | None = None,
    frozen: bool = False,
    measure: bool = False,
    tolerance: float | None = None,
    force: bool = False,
) -> Export:
    """Write a model for another runtime, and check the outputs there.

    A file that doesn't compute what the model computes is not kept. Activations are one operation
    each in Keras and ONNX files, `keras.layers.PReLU` and PRelu, and a cap is one more. For the
    other runtimes they have the form that these run fastest, such as max(x, a·x) for slopes from 0
    to 1, with the same function. The file does not need keras_prelu; a Keras file needs the
    classes of your own layers, the other formats don't. Layers that compute in half precision do so
    in Keras files, SavedModels and PyTorch's programs; in the other formats they compute in
    float32, and a warning says so.

    Args:
        model: `keras.Model`. Any built model, converted or not. It is not changed.
        path: String or path. The output: `.keras`, `.tflite`, `.onnx`, `.xml` (OpenVINO's, with a
            `.bin` next to it), `.pt2` (of `torch.export`) or `.pte` (of ExecuTorch), both on the
            PyTorch backend, or a folder for a TensorFlow SavedModel.
        format: String or None. "keras", "saved_model", "tflite", "onnx", "openvino", "torch" or
            "executorch". Defaults to None, the format of the path's suffix.
        quantize: String or None. For "tflite": "float16" (weights), "dynamic" (weights in int8),
            "int8" (all that can be quantized, with ranges from `samples`) or "int16x8" (the same
            with activations of 16 bits, which are more exact and slower). Defaults to None,
            float32.
        samples: Array, or a structure of arrays, as the model takes them. Inputs for the check (the
            first 128, or all where accuracies are measured) and for the quantization (all).
            Defaults to 8 random samples.
        labels: Array of integers or None. The samples' class numbers, of shape (samples,). With
            labels, the record holds the accuracy of the file and that of the model.
        test: Tuple (x, y) or None. Samples with class numbers on which the accuracies are measured
            in place of `samples`, such as some that were not trained on. Defaults to None.
        prune: Float. As in `bake`. Defaults to 0.
        opset: Integer or None. For "onnx": the version of the operators. Defaults to the
            exporter's.
        optimize_for: String or None. For "onnx", on the TensorFlow backend: "cpu" writes the
            activations of images whose slopes are from 0 to 1 as convolutions of one pixel with
            ReLUs, which onnxruntime fuses on CPUs, where it runs PRelu slowly. Normalizations that
            no convolution precedes become such ones too. Defaults to None, one operation each.
        frozen: Boolean. For "saved_model": whether variables become constants. TensorFlow then
            computes ahead what depends on them alone, which saves more time than any activation
            takes; what is loaded can't be trained. Defaults to False.
        measure: Boolean. Whether to compare the file's time in its runtime and its size with those
            of the same network with ReLUs, which takes another export and ten seconds. Not
            available for "keras". Defaults to False.
        tolerance: Float or None. The largest difference that is accepted, relative to the largest
            output. Defaults to 0.0001 in float32, 0.01 for "float16", 0.1 for "dynamic" and
            "int16x8", and 0.25 for "int8"; at least 0.01 for models that compute in float16, and
            0.05 in bfloat16.
        force: Boolean. Whether an existing output is replaced. Defaults to False.

    Returns:
        An `Export`.

    Raises:
        InvalidArgumentError: A ValueError; an argument has none of the values above, or "int8" or
            "int16x8" has no samples.
        ExportError: The backend can't write the format, a package is missing, the model can't be
            exported, or the runtime computes different outputs. Nothing is written then.
        ConversionError: For a Keras file: as in `bake`.
        FileError: The output exists, or can't be written.

    Example:

    >>> keras_prelu.export(converted, "model.tflite", samples=x_test[:128]).difference
    """
    check_model(model)
    path = check_path("path", path)
    format_ = check_export(
        path,
        format,
        quantize=quantize,
        opset=opset,
        optimize_for=optimize_for,
        frozen=frozen,
        measure=measure,
        force=force,
    )
    check_prune(prune)
    if quantize in NEED_SAMPLES and samples is None:
        raise InvalidArgumentError(
            f"quantize='{quantize}' takes the ranges of all numbers from `samples`: give a few"
            " hundred (--data)."
        )
    if labels is not None and samples is None:
        raise InvalidArgumentError("`labels` are those of `samples`: give both, or none.")
    if labels is not None and test is not None:
        raise InvalidArgumentError("`test` has labels of its own: give it or `labels`, not both.")
    limit = _tolerance(model, quantize) if tolerance is None else float(tolerance)
    _warn_of_float32(model, format_)
    given = random_inputs(model) if samples is None else as_model_inputs(model, samples)
    settings = Settings(
        quantize=quantize,
        samples=given,
        opset=opset,
        optimize_for=optimize_for,
        frozen=frozen,
        prune=float(prune),
        interface=Interface.of_model(model),
    )
    has_labels = labels is not None or test is not None
    inputs = given if has_labels else _first(given, _MOST_CHECKED)
    expected = model_outputs(model, inputs)
    labelled = inputs
    if test is not None:
        labelled, labels = as_model_inputs(model, test[0]), test[1]
    loss = getattr(model, "loss", None)
    accuracy_of_model = accuracy(
        expected if test is None else model_outputs(model, labelled), labels, loss
    )
    pruning_error = None
    reference = model
    if prune:
        reference = lower_model(model, inputs, prune)
        unpruned, expected = expected, model_outputs(reference, inputs)
        pruning_error = relative_error(expected, unpruned)
    # Python code may compute something else for one sample; a file holds one branch of it.
    alone = None if _has_fixed_batch(model) else _first(inputs, 1)
    expected_alone = [] if alone is None else model_outputs(reference, alone)

    with atomic_write(path, overwrite=force, parts=format_.parts(path)) as written:
        with as_export_errors(path, format_, model, settings):
            run, operations = _write_and_load(format_, model, written, settings)
            outputs = run(inputs)
            labelled_outputs = outputs if test is None else run(labelled)
            outputs_alone = [] if alone is None else run(alone)
        difference = largest_difference(outputs, expected)
        if not difference <= limit:  # Also true if it is NaN.
            raise ExportError(
                f"'{path}' is not written: {format_.runtime()} computes something else,"
                f" {described_difference(outputs, expected, difference, limit)}."
            )
        if not largest_difference(outputs_alone, expected_alone, expected) <= limit:
            raise ExportError(
                f"'{path}' is not written: {format_.runtime()} computes something else for one"
                " sample alone. Python code of the model asks how many samples there are: take the"
                " question out of it, or export the model for one number of samples"
                " (keras.Input(batch_size=...))."
            )
        if format_.traced:
            _check_other_sizes(path, reference, run, inputs, settings, limit)
        with as_export_errors(path, format_, model, settings):
            cost = _cost(format_, model, written, settings, inputs) if measure else None

    return Export(
        path=str(path),
        format=format_.name,
        quantize=quantize,
        bytes=sum(map(size_in_bytes, format_.parts(path))),
        operations=operations,
        runtime=format_.runtime(),
        samples=len(keras.tree.flatten(inputs)[0]),
        random=samples is None,
        difference=difference,
        error=relative_error(outputs, expected),
        tolerance=limit,
        accuracy=accuracy(labelled_outputs, labels, loss),
        accuracy_of_model=accuracy_of_model,
        pruning_error=pruning_error,
        cost=cost,
        accuracy_samples=None if labels is None else len(labels),
    )


def _check_other_sizes(
    path: Path, model: keras.Model, run: Runner, inputs: Any, settings: Settings, limit: float
) -> None:
    """Raise an ExportError if a file computes something else for inputs of another size."""
    for other in inputs_of_other_sizes(model, settings.interface, inputs):
        try:
            expected = model_outputs(model, other)
        except Exception:
            continue  # The model doesn't take this size.
        try:
            with silenced(1, 2):
                difference = largest_difference(run(other), expected)
        except Exception:  # Whatever the runtime raises.
            difference = math.inf
        if not difference <= 2 * limit:  # That is more than rounding or quantization.
            sizes = [np.shape(array)[1:] for array in keras.tree.flatten(other)]
            raise ExportError(
                f"'{path}' is not written: for inputs of another size,"
                f" {' and '.join(map(str, sizes))}, it computes something else, and the model takes"
                " any size. Python code of its layers asks for the size: export a model of one size"
                " (keras.Input), or with another backend."
            )


def _tolerance(model: keras.Model, quantize: str | None) -> float:
    """Return the default tolerance for a model and a quantization."""
    by_dtype = (_HALF_PRECISION_TOLERANCES[dtype] for dtype in half_precision(model))
    return max(TOLERANCES[quantize], *by_dtype, 0.0)


def _warn_of_float32(model: keras.Model, format_: Format) -> None:
    """Warn if layers compute in half precision, and in float32 in the file."""
    dtypes = half_precision(model)
    if dtypes and not format_.keeps_half_precision:
        warn(
            f"Layers of '{model.name}' compute in {' and '.join(dtypes)}. In {format_.name} files"
            " they compute in float32.",
        )


def _has_fixed_batch(model: keras.Model) -> bool:
    return declares_inputs(model) and model.inputs[0].shape[0] is not None


def _first(samples: Any, count: int) -> Any:
    return keras.tree.map_structure(lambda array: array[:count], samples)


@on_large_graphs
def _write_and_load(
    format_: Format, model: keras.Model, path: Path, settings: Settings
) -> tuple[Any, dict[str, int]]:
    """Write a file, and return the function that runs it and the counts of its operations."""
    format_.write(model, path, settings)
    return format_.load(path, settings.interface), format_.operations(path)


def _cost(format_: Format, model: keras.Model, path: Path, settings: Settings, inputs: Any) -> Cost:
    """Export the model once more, with every PReLU pruned to a ReLU, and compare the two files."""
    path_with_relus = path.parent / "with_relus" / path.name
    path_with_relus.parent.mkdir()
    write = on_large_graphs(format_.write)
    write(model, path_with_relus, replace(settings, prune=math.inf))
    return measure_cost(format_, path, path_with_relus, inputs, settings.interface)
