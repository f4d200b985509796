"""The record of a calibration, stored as JSON next to the model."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

__all__ = ["check_outputs", "read_calibration", "record_path", "write_calibration"]


def record_path(model: Path) -> Path:
    """Return the path of a model's record: `model.prelu.keras` → `model.prelu.calibration.json`."""
    return model.with_name(f"{model.stem}.calibration.json")


def check_outputs(output: Path, *, force: bool) -> None:
    """Raise a FileError if a model or its record cannot be written, before any work is done."""
    from keras_prelu.errors import FileError
    from keras_prelu.io.model_files import check_output

    check_output(output, force=force)
    if record_path(output).exists() and not force:
        raise FileError(
            f"The record '{record_path(output)}' exists. Choose another output, or overwrite it"
            " with --force."
        )


def write_calibration(calibration: Any, scores: Any, model: Path, *, force: bool) -> None:
    """Write the record of a calibration next to its model.

    Args:
        calibration: `Calibration`.
        scores: `ConversionScores`, or None if they were not measured.
        model: `pathlib.Path` of the calibrated model.
        force: Boolean. Whether an existing record is replaced.
    """
    from keras_prelu.cli.console import to_json
    from keras_prelu.io.atomic import atomic_write_text

    record = {each.name: getattr(calibration, each.name) for each in fields(calibration)}
    text = to_json({**record, "scores": scores})
    atomic_write_text(record_path(model), f"{text}\n", overwrite=force)


def read_calibration(model: Path) -> Any:
    """Return the `Calibration` stored next to a model, or None if none can be read."""
    from keras_prelu.calibration.records import Calibration, LayerCalibration

    try:
        stored = json.loads(record_path(model).read_text(encoding="utf-8"))
        layers = tuple(LayerCalibration(**layer) for layer in stored.pop("layers"))
        stored.pop("scores", None)
        return Calibration(layers=layers, **stored)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
