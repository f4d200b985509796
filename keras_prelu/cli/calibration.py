"""The options of a calibration, and its record: printed as a table, and stored in JSON beside the
model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

__all__ = [
    "CalibrationOptions",
    "calibration_options",
    "check_outputs",
    "print_calibration",
    "print_search",
    "record_path",
    "store_calibration",
]


@dataclass(frozen=True)
class CalibrationOptions:
    """The options as given: how many samples, and how many bytes of their activations are held in
    memory."""

    samples: int
    memory_limit: float


def calibration_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a calibration to a command, which is called with `calibration=`."""

    @click.option(
        "--samples",
        type=click.IntRange(min=5),
        default=512,
        show_default=True,
        help="How many samples to calibrate with.",
    )
    @click.option(
        "--memory-limit",
        type=_Size(),
        default="4GB",
        show_default=True,
        help=(
            "How much of the samples' activations is held in memory; the rest goes to temporary"
            " files."
        ),
    )
    @functools.wraps(function)
    def command(*args: Any, samples: int, memory_limit: float, **kwargs: Any) -> None:
        function(*args, calibration=CalibrationOptions(samples, memory_limit), **kwargs)

    return command


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A number of bytes, with a unit of decimal thousands."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", str(value), re.IGNORECASE)
        if found is None:
            self.fail(f"'{value}' is no size such as 500MB or 4GB.", param, ctx)
        return float(found[1]) * 1000.0 ** " kmgt".index(found[2].lower() or " ")


def record_path(output: Path) -> Path:
    """`model.prelu.keras` → `model.prelu.calibration.json`."""
    return output.with_name(f"{output.stem}.calibration.json")


def check_outputs(output: Path, *, force: bool) -> None:
    """Raise a FileError if a model or its record would not be written: asked before work is done
    that would be lost."""
    from keras_prelu.errors import FileError
    from keras_prelu.io.model_files import check_output

    check_output(output, force=force)
    if record_path(output).exists() and not force:
        raise FileError(
            f"The record '{record_path(output)}' exists. Choose another output, or overwrite it"
            " with --force."
        )


def store_calibration(calibration: Any, output: Path, *, force: bool) -> None:
    """Write the record beside a model."""
    from keras_prelu.cli.console import to_json
    from keras_prelu.io.atomic import atomic_write_text

    atomic_write_text(record_path(output), to_json(calibration) + "\n", overwrite=force)


def print_calibration(calibration: Any) -> None:
    """The record as a table."""
    from keras_prelu.cli.console import number, print_table

    print_table(
        f"Calibration on {calibration.samples} samples, {calibration.held_out} of them held out;"
        " errors relative to the output's variance",
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
    click.echo(
        f"Error of the model's output on held-out samples: {number(calibration.error_before)} →"
        f" {number(calibration.error_after)}"
    )
    if not calibration.kept:
        click.echo(
            "The refit was no better than none on held-out samples; the weights are what they were."
        )


def print_search(search: Any) -> None:
    """What `--alpha auto` found."""
    from keras_prelu.cli.console import number, print_table

    print_table(
        "Slopes that calibration can make up for",
        ["layer", "slope"],
        [[path, number(slope)] for path, slope in search.slopes.items()],
        right=["slope"],
    )
    allowed = "and no sample's largest output moved" if search.same_decisions else "as given"
    click.echo(
        f"Found in {len(search.trials)} calibrations. Allowed: a loss of {number(search.tolerance)}"
        f" on held-out samples, {allowed}."
    )
