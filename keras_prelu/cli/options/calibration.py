"""The options of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

import click

from keras_prelu.cli.options.groups import option, option_group
from keras_prelu.cli.options.parameter_types import ByteSize

__all__ = ["CalibrationOptions", "calibration_options"]


@dataclass(frozen=True)
class CalibrationOptions:
    """The options of a calibration.

    Attributes:
        samples: Integer. Largest number of samples to calibrate with.
        memory_limit: Float. Bytes that the calibration may take.
    """

    samples: int = option(
        type=click.IntRange(min=5),
        default=512,
        help="Largest number of samples to calibrate with.",
    )
    memory_limit: float = option(
        type=ByteSize(),
        default="4GB",
        help="Memory that calibration may take in addition to the models and samples.",
    )


calibration_options = option_group("calibration", CalibrationOptions)
