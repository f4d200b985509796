"""Exporting a model to the formats of other runtimes, and checking there that it computes the
same."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.bake import check_prune
from keras_prelu.deployment.benchmark import Cost, cost, size
from keras_prelu.deployment.format import Format, Settings
from keras_prelu.deployment.formats.keras import KerasFile
from keras_prelu.deployment.formats.onnx.file import OnnxFile
from keras_prelu.deployment.formats.openvino import OpenVino
from keras_prelu.deployment.formats.saved_model import SavedModel
from keras_prelu.deployment.formats.tflite import QUANTIZATIONS, TensorFlowLite
from keras_prelu.deployment.formats.torch_export import TorchProgram
from keras_prelu.deployment.lowering import lowered
from keras_prelu.errors import (
    ExportError,
    FileError,
    InvalidArgumentError,
    KerasPReLUError,
    reason_of,
)
from keras_prelu.graph import functional
from keras_prelu.io.model_files import check_output
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.quiet import silenced

__all__ = ["FORMATS", "Export", "check_export", "export"]

FORMATS: dict[str, type[Format]] = {
    cls.name: cls
    for cls in (KerasFile, SavedModel, TensorFlowLite, OnnxFile, OpenVino, TorchProgram)
}

TOLERANCES = {None: 1e-4, "float16": 1e-2, "dynamic": 0.1, "int8": 0.25}
"""By quantization: the largest difference that is accepted, relative to the largest output."""

_CHECKED, _RANDOM, _UNKNOWN_SIZE = 128, 8, 32


@dataclass(frozen=True)
class Export:
    """What was written, and what its runtime made of it.

    Attributes:
        path: The file, or the folder of a SavedModel.
        format: "keras", "saved_model", "tflite", "onnx", "openvino" or "torch".
        quantize: "float16", "dynamic", "int8", or None for float32.
        bytes: Its size.
        operations: How often each kind of operation (layer, for a Keras file) is in it; empty for a
            SavedModel.
        runtime: What ran it.
        samples: How many samples it ran on.
        random: Whether those were random numbers, for want of given ones.
        difference: The largest difference to the model's outputs, relative to the largest of them.
        error: Mean squared difference over the outputs' variance.
        tolerance: What `difference` had to stay under.
        accuracy: Percent of the labelled samples that the file's largest output is right on; None
            without labels of a classifier.
        accuracy_of_model: The same of the model.
        pruning_error: Mean squared change of the outputs by `prune` over their variance; None where
            nothing was to be pruned. The other two are against the pruned model then.
        cost: Its time and size beside those of the same network with ReLUs; None where that was not
            measured.
    """

    path: str
    format: str
    quantize: str | None
    bytes: int
    operations: dict[str, int]
    runtime: str
    samples: int
    random: bool
    difference: float
    error: float
    tolerance: float
    accuracy: float | None
    accuracy_of_model: float | None
    pruning_error: float | None
    cost: Cost | None


@on_large_graphs
def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    quantize: str | None = None,
    samples: Any = None,
    labels: Any = None,
    prune: float = 0.0,
    opset: int | None = None,
    optimize_for: str | None = None,
    measure: bool = False,
    tolerance: float | None = None,
    force: bool = False,
) -> Export:
    """Write a model for another runtime, and run it there: a file that doesn't compute what the
    model does is not kept.

    Activations are one operation each: TensorFlow Lite's PRELU, ONNX's and OpenVINO's PRelu,
    `keras.layers.PReLU`; a cap is one more. (In "torch" they are several.) The file needs no
    keras_prelu; a Keras file needs the classes of your own layers, the others don't.

    Args:
        model: Any built model, converted or not. It is not changed.
        path: Where to. `.keras`, `.tflite`, `.onnx`, `.xml` (OpenVINO's, with a `.bin` beside it),
            `.pt2` (of `torch.export`, on the PyTorch backend), or a folder for a TensorFlow
            SavedModel.
        format: "keras", "saved_model", "tflite", "onnx", "openvino" or "torch". Defaults to what
            the suffix says.
        quantize: For "tflite": "float16" (weights), "dynamic" (weights in int8) or "int8" (all that
            can be, with ranges from `samples`). Defaults to None, float32.
        samples: Inputs as the model takes them, to check with (the first 128, or all that have
            labels) and to quantize with (all). Defaults to 8 random ones.
        labels: The samples' class numbers, of shape (samples,): the accuracy of the file and that
            of the model are in the record then.
        prune: As in `bake`.
        opset: Version of the ONNX operators. Defaults to the exporter's.
        optimize_for: For "onnx": "cpu" writes the activations of images in four operations that
            onnxruntime fuses into two, in the place of one that it is slow at on CPUs, where their
            slopes are from 0 to 1. Defaults to None, one operation each.
        measure: Whether to compare the file's time in its runtime and its size with those of the
            same network with ReLUs, which takes another export and ten seconds. Not for "keras".
            Defaults to False.
        tolerance: The largest difference that is accepted, relative to the largest output. Defaults
            to 0.0001 in float32, 0.01 for "float16", 0.1 for "dynamic" and 0.25 for "int8".
        force: Whether an existing output is replaced. Defaults to False.

    Returns:
        A record.

    Raises:
        InvalidArgumentError: A ValueError; an argument has none of the values above, or "int8" has
            no samples.
        ExportError: The backend can't write the format, a package is missing, the model can't be
            exported, or the runtime computes something else. Nothing is written then.
        ConversionError: For a Keras file: as in `bake`.
        FileError: The output exists, or can't be written.

    Example:

    >>> keras_prelu.export(converted, "model.tflite", samples=x_test[:128]).difference
    """
    path = Path(path)
    format_ = check_export(
        path,
        format,
        quantize=quantize,
        opset=opset,
        optimize_for=optimize_for,
        measure=measure,
        force=force,
    )
    check_prune(prune)
    if quantize == "int8" and samples is None:
        raise InvalidArgumentError(
            "quantize='int8' takes the ranges of all numbers from `samples`: give a few hundred"
            " (--data)."
        )
    if labels is not None and samples is None:
        raise InvalidArgumentError("`labels` are those of `samples`: give both, or none.")
    given = _random_inputs(model) if samples is None else _as_taken(model, samples)
    inputs = (
        given
        if labels is not None
        else keras.tree.map_structure(lambda part: part[:_CHECKED], given)
    )
    expected = _outputs(model, inputs)
    accuracy_of_model = _accuracy(expected, labels)
    pruning_error = None
    if prune:
        pruned = _outputs(lowered(model, inputs, prune), inputs)
        expected, pruning_error = pruned, _error(pruned, expected)
    limit = TOLERANCES[quantize] if tolerance is None else float(tolerance)
    settings = Settings(quantize, given, opset, optimize_for, float(prune))
    with _unpublished(format_, path) as written:
        with _translated(path, format_):
            format_.write(model, written, settings)
            found = format_.load(written)(inputs)
            operations = format_.operations(written)
        difference = _difference(found, expected)
        if not difference <= limit:
            raise ExportError(
                f"'{path}' is not written: {format_.runtime()} computes something else, by"
                f" {difference:.2g} of the largest output, and {limit:g} is allowed (tolerance)."
            )
        with _translated(path, format_):
            measured = _cost(model, format_, written, settings, inputs) if measure else None
    count, bytes_ = len(keras.tree.flatten(inputs)[0]), sum(map(size, format_.parts(path)))
    return Export(
        str(path),
        format_.name,
        quantize,
        bytes_,
        operations,
        format_.runtime(),
        count,
        samples is None,
        difference,
        _error(found, expected),
        limit,
        _accuracy(found, labels),
        accuracy_of_model,
        pruning_error,
        measured,
    )


def check_export(
    path: Path,
    format: str | None,
    *,
    quantize: str | None,
    opset: int | None,
    optimize_for: str | None,
    measure: bool,
    force: bool,
) -> Format:
    """The format of an export that is possible as far as can be told beforehand; raises what
    `export` would raise."""
    suffixes = {cls.suffix: name for name, cls in FORMATS.items()}
    name = suffixes.get(path.suffix) if format is None else format
    if name not in FORMATS:
        known = ", ".join(map(repr, FORMATS))
        wrong = (
            f"'{path}' has a suffix of no known format"
            if format is None
            else f"`format` must be one of {known}. Received: {format!r}"
        )
        suffixes_ = ", ".join(filter(None, suffixes))
        raise InvalidArgumentError(
            f"{wrong}. Known: {suffixes_}, and a folder's name without a suffix for a SavedModel."
        )
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise InvalidArgumentError(
            f"`quantize` must be one of {', '.join(map(repr, QUANTIZATIONS))}, or None. Received:"
            f" {quantize!r}"
        )
    if quantize is not None and name != TensorFlowLite.name:
        raise InvalidArgumentError(
            f"`quantize` is for the format 'tflite'. Received: quantize={quantize!r},"
            f" format={name!r}"
        )
    if opset is not None and name != OnnxFile.name:
        raise InvalidArgumentError(
            f"`opset` is for the format 'onnx'. Received: opset={opset}, format={name!r}"
        )
    if optimize_for not in (None, "cpu"):
        raise InvalidArgumentError(
            f"`optimize_for` must be 'cpu' or None. Received: {optimize_for!r}"
        )
    if optimize_for is not None and name != OnnxFile.name:
        raise InvalidArgumentError(
            f"`optimize_for` is for the format 'onnx'. Received: optimize_for={optimize_for!r},"
            f" format={name!r}"
        )
    format_ = FORMATS[name]()
    if measure and not format_.timed:
        timed = ", ".join(repr(known) for known, cls in FORMATS.items() if cls.timed)
        raise InvalidArgumentError(
            f"`measure` is for formats with a runtime of their own: {timed}. Received:"
            f" format={name!r}"
        )
    check_output(path, force=force, suffix=format_.suffix)
    for part in format_.parts(path):
        check_output(part, force=force, suffix=part.suffix)
    format_.check()
    return format_


def _cost(
    model: keras.Model, format_: Format, written: Path, settings: Settings, inputs: Any
) -> Cost:
    with_relus = written.parent / "with_relus" / written.name
    with_relus.parent.mkdir()
    format_.write(model, with_relus, replace(settings, prune=math.inf))
    return cost(format_, written, with_relus, inputs)


@contextlib.contextmanager
def _translated(path: Path, format_: Format) -> Iterator[None]:
    """Keep what an exporter prints away, and turn its exceptions into one line."""
    try:
        with silenced(1, 2), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (KerasPReLUError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(
            f"'{path}' is not written: the model can't be exported to {format_.name}"
            f" ({reason_of(error)}). Another format may do; where a layer is named, it is the one"
            " to exchange."
        ) from error


def _random_inputs(model: keras.Model) -> Any:
    """Normal numbers, or zeros and ones where the model takes integers; sizes that it leaves open
    are 32."""
    rng = np.random.default_rng(0)

    def random(tensor: Any) -> np.ndarray:
        shape = [_RANDOM, *(_UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:])]
        if keras.backend.is_float_dtype(tensor.dtype):
            return rng.normal(size=shape).astype("float32")
        return rng.integers(0, 2, shape).astype(tensor.dtype)

    if not functional.has_graph(model):
        raise ExportError(
            f"Model '{model.name}' doesn't say what it takes: give `samples` (--data) to check the"
            " exported file with."
        )
    return keras.tree.map_structure(
        random, model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    )


def _as_taken(model: keras.Model, samples: Any) -> Any:
    """Samples of the types that the model takes: runtimes, unlike Keras, cast nothing."""
    arrays = keras.tree.map_structure(np.asarray, samples)
    flat, tensors = keras.tree.flatten(arrays), getattr(model, "inputs", None) or []
    if len(flat) != len(tensors):
        return arrays
    named = {tensor.name: tensor for tensor in tensors}
    if isinstance(arrays, dict) and set(arrays) == set(named):
        return {name: array.astype(named[name].dtype) for name, array in arrays.items()}
    cast = [
        array if tensor.dtype == "string" else array.astype(tensor.dtype)
        for array, tensor in zip(flat, tensors, strict=True)
    ]
    return keras.tree.pack_sequence_as(arrays, cast)


def _outputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    return [
        np.asarray(part, dtype=np.float64)
        for part in keras.tree.flatten(model.predict(inputs, verbose=0))
    ]


def _difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest over all outputs, each relative to its own largest."""
    if [part.shape for part in found] != [part.shape for part in expected]:
        return float("inf")
    largest = [
        (np.abs(part - wanted).max(), np.abs(wanted).max())
        for part, wanted in zip(found, expected, strict=True)
    ]
    return float(
        np.max([change / scale if scale else change for change, scale in largest])
    )  # NaN where one is; max() may lose it


def _error(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    squares = sum(
        float(np.square(part - wanted).sum()) for part, wanted in zip(found, expected, strict=True)
    )
    spread = sum(float(np.square(wanted - wanted.mean()).sum()) for wanted in expected)
    return squares / spread if spread else squares


def _accuracy(outputs: Sequence[np.ndarray], labels: Any) -> float | None:
    """In percent; None without labels."""
    if labels is None:
        return None
    classes, first = np.asarray(labels).reshape(len(labels), -1), outputs[0]
    if (
        len(outputs) != 1
        or first.ndim != 2
        or first.shape[1] < 2
        or classes.shape != (len(first), 1)
        or classes.dtype.kind not in "iu"
    ):
        raise InvalidArgumentError(
            "`labels` are class numbers, one for each sample, of a model with one output of a"
            f" number for each class. Received: labels of shape {np.shape(labels)} and type"
            f" {classes.dtype}, outputs of shapes {[part.shape for part in outputs]}"
        )
    return 100.0 * float(np.mean(first.argmax(-1) == classes[:, 0]))


@contextlib.contextmanager
def _unpublished(format_: Format, path: Path) -> Iterator[Path]:
    """Where to write meanwhile; what is there gets its own name at the end, unless something was
    raised."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        yield folder / path.name
        parts = format_.parts(path)
        if len(parts) == 1 and not path.is_dir():
            os.replace(folder / path.name, path)
        else:
            _replace_all({folder / part.name: part for part in parts}, folder / "old")
    except OSError as error:
        raise FileError(f"Could not write '{path}': {error.strerror or error}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_all(renamed: dict[Path, Path], aside: Path) -> None:
    """What `os.replace` does with a file, for several and for folders: all have their new names, or
    all is as it was."""
    aside.mkdir()
    undo: list[tuple[Path, Path]] = []
    try:
        for new, path in renamed.items():
            for source, target in ((path, aside / path.name), (new, path)):
                if source == new or source.exists():
                    source.rename(target)
                    undo.append((target, source))
    except OSError:
        for target, source in reversed(undo):
            target.rename(source)
        raise
