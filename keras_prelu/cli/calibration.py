"""The record of a calibration: printed as a table, and stored in JSON beside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["check_outputs", "print_calibration", "record_path", "store_calibration"]


def record_path(output: Path) -> Path:
    """`model.prelu.keras` → `model.prelu.calibration.json`."""
    return output.with_name(f"{output.stem}.calibration.json")


def check_outputs(output: Path, *, force: bool) -> None:
    """Raise a FileError if a model or its record would not be written: asked before work is done that would be lost."""
    from keras_prelu.errors import FileError
    from keras_prelu.files import check_output

    check_output(output, force=force)
    if record_path(output).exists() and not force:
        raise FileError(f"The record '{record_path(output)}' exists. Choose another output, or overwrite it with --force.")


def store_calibration(calibration: Any, output: Path, *, force: bool) -> None:
    """Write the record beside a model."""
    from keras_prelu.cli.output import to_json
    from keras_prelu.files import save_record

    save_record(to_json(calibration) + "\n", record_path(output), force=force)


def print_calibration(calibration: Any) -> None:
    """The record as a table."""
    from keras_prelu.cli.output import number, print_table

    print_table(
        f"Calibration on {calibration.samples} samples, {calibration.held_out} of them held out; errors relative to the output's variance",
        ["layer", "class", "rows", "unknowns", "ridge", "before", "after", "action"],
        [
            [
                record.path,
                record.layer,
                str(record.rows),
                str(record.unknowns),
                number(record.ridge),
                number(record.error_before),
                number(record.error_after),
                record.action,
            ]
            for record in calibration.layers
        ],
        right=["rows", "unknowns", "ridge", "before", "after"],
    )
    click.echo(f"Error of the model's output on held-out samples: {number(calibration.error_before)} → {number(calibration.error_after)}")
    if not calibration.kept:
        click.echo("The refit was no better than none on held-out samples; the weights are what they were.")
