"""The settings of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

from keras_prelu.utils.checks import check_integer, check_number

__all__ = ["DISTILLATION_EPOCHS", "CalibrationConfig", "DistillationConfig"]

DISTILLATION_EPOCHS = 8.0


@dataclass(frozen=True)
class CalibrationConfig:
    """The checked settings of a calibration. See `calibrate`.

    Attributes:
        ridge: Float or None. λ relative to the mean diagonal of the Gram matrix; None for the best
            of `ridge.RIDGES` on held-out samples.
        rows_per_unknown: Integer. Rows to use for each unknown weight.
        refit_frozen: Boolean. Whether layers with `trainable=False` are refitted too.
        batch_size: Integer or None. Samples that pass through a layer at once; None for what the
            memory limit allows, at most 128.
        memory_limit: Float. Bytes that the calibration may take.
        seed: Integer. Seed of the held-out samples and of the sampled positions.

    Raises:
        InvalidArgumentError: A setting is out of range.
    """

    ridge: float | None = None
    rows_per_unknown: int = 16
    refit_frozen: bool = False
    batch_size: int | None = None
    memory_limit: float = 4e9
    seed: int = 0

    def __post_init__(self) -> None:
        if self.ridge is not None:
            check_number("ridge", self.ridge, above=0.0)
        check_integer("rows_per_unknown", self.rows_per_unknown, minimum=1)
        if self.batch_size is not None:
            check_integer("batch_size", self.batch_size, minimum=1)
        check_integer("seed", self.seed, minimum=0)
        check_number("memory_limit", self.memory_limit, minimum=0.0)


@dataclass(frozen=True)
class DistillationConfig:
    """The checked settings of a distillation. See `distill`.

    Attributes:
        epochs: Float. How often each sample is drawn to train a block, on average.
        learning_rate: Float. The largest learning rate, relative to the root mean square of a
            block's weight matrices.

    Raises:
        InvalidArgumentError: A setting is out of range.
    """

    epochs: float = DISTILLATION_EPOCHS
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, above=0.0)
        check_number("learning_rate", self.learning_rate, above=0.0)
