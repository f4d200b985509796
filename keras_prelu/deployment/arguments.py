"""Checks of the arguments of an export before any work is done."""

from __future__ import annotations

from pathlib import Path

import keras

from keras_prelu.deployment.formats.base import Format
from keras_prelu.deployment.formats.registry import FORMATS
from keras_prelu.deployment.formats.tflite import QUANTIZATIONS
from keras_prelu.errors import ExportError, InvalidArgumentError
from keras_prelu.io.model_files import check_output
from keras_prelu.utils.checks import check_integer

__all__ = ["check_export"]

_FIRST_OPSET = 9
"""Before, constants of an ONNX file had to be inputs too."""


def check_export(
    path: Path,
    format: str | None,
    *,
    quantize: str | None,
    opset: int | None,
    optimize_for: str | None,
    frozen: bool,
    measure: bool,
    force: bool,
) -> Format:
    """Return the format of an export, or raise what `export` would raise.

    Only what can be checked beforehand is checked. The arguments are those of `export`.
    """
    name = _format_name(path, format)
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise InvalidArgumentError(
            f"`quantize` must be one of {', '.join(map(repr, QUANTIZATIONS))}, or None. Received:"
            f" {quantize!r}"
        )
    if opset is not None:
        check_integer("opset", opset, minimum=_FIRST_OPSET)
    if optimize_for not in (None, "cpu"):
        raise InvalidArgumentError(
            f"`optimize_for` must be 'cpu' or None. Received: {optimize_for!r}"
        )
    options = {
        "quantize": quantize,
        "opset": opset,
        "optimize_for": optimize_for,
        "frozen": frozen or None,
    }
    for option, value in options.items():
        if value is not None and option not in FORMATS[name].options:
            able = " or ".join(
                repr(known) for known, cls in FORMATS.items() if option in cls.options
            )
            raise InvalidArgumentError(
                f"`{option}` is for the format {able}. Received: {option}={value!r},"
                f" format={name!r}"
            )
    if optimize_for == "cpu" and keras.backend.backend() != "tensorflow":
        raise ExportError(
            "`optimize_for='cpu'` has an effect on files that are written on TensorFlow only: on"
            f" {keras.backend.backend()} the channels of their activations are the last axis, which"
            " onnxruntime doesn't fuse. Leave it out, or save the model, and export the file with"
            " KERAS_BACKEND=tensorflow; on the command line with --backend tensorflow."
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


def _format_name(path: Path, format: str | None) -> str:
    by_suffix = {cls.suffix: name for name, cls in FORMATS.items()}
    name = by_suffix.get(path.suffix) if format is None else format
    if name in FORMATS:
        return name
    problem = (
        f"'{path}' has a suffix of no known format"
        if format is None
        else f"`format` must be one of {', '.join(map(repr, FORMATS))}. Received: {format!r}"
    )
    suffixes = ", ".join(filter(None, by_suffix))
    raise InvalidArgumentError(
        f"{problem}. Known: {suffixes}, and a folder's name without a suffix for a SavedModel."
    )
