"""The records of a calibration, a search for slopes and a distillation."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BlockDistillation",
    "Calibration",
    "Distillation",
    "LayerCalibration",
    "SlopeSearch",
    "SlopeTrial",
]


@dataclass(frozen=True)
class LayerCalibration:
    """The record of one linear layer.

    Attributes:
        path: String. Path of the layer.
        layer: String. Class name of the layer.
        rows: Integer. Rows of the least-squares problem: output positions of samples.
        unknowns: Integer. Weights of one output, bias included.
        ridge: Float or None. λ of the fit relative to the mean diagonal of the Gram matrix; None if
            nothing was fitted.
        error_before: Float or None. Mean squared error of the layer's output on held-out samples,
            before its refit and after that of earlier layers, divided by the variance of its output
            in the original. None if it was not computed.
        error_after: Float or None. The same error after the refit.
        action: String. "refitted", or "kept: " and the reason.
    """

    path: str
    layer: str
    rows: int
    unknowns: int
    ridge: float | None
    error_before: float | None
    error_after: float | None
    action: str


@dataclass(frozen=True)
class Calibration:
    """The record of a calibration.

    Errors are mean squared changes of the model's output, divided by its variance, on held-out
    samples.

    Attributes:
        samples: Integer. Number of samples, held-out ones included.
        held_out: Integer. Number of samples that were held out from the fits.
        error_before: Float. Error of the converted model before calibration.
        error_after: Float. Error of the converted model now.
        kept: Boolean. Whether the refitted weights were kept; False if they were worse, so that the
            model has its old weights.
        layers: Tuple with a `LayerCalibration` for each layer that has a weight matrix, in
            execution order.
    """

    samples: int
    held_out: int
    error_before: float
    error_after: float
    kept: bool
    layers: tuple[LayerCalibration, ...]


@dataclass(frozen=True)
class BlockDistillation:
    """The record of one block, before the whole model was judged (`Distillation.kept`).

    Errors are mean squared differences of the block's outputs from the original's, divided by their
    variance, on held-out samples.

    Attributes:
        path: String. Path of the block's last layer.
        layers: Integer. Number of layers and ops in the block.
        steps: Integer. Training steps; 0 if there was nothing to train or to improve.
        error_before: Float. Error before the block was trained and after earlier ones were.
        error_after: Float. Error of the trained weights if they were kept, else of the old ones.
        kept: Boolean. Whether the trained weights were kept; False if they were not better.
    """

    path: str
    layers: int
    steps: int
    error_before: float
    error_after: float
    kept: bool


@dataclass(frozen=True)
class Distillation:
    """The record of a distillation.

    Errors are mean squared changes of the model's output, divided by its variance, on held-out
    samples.

    Attributes:
        samples: Integer. Number of samples, held-out ones included.
        held_out: Integer. Number of samples that were held out from the training.
        error_before: Float. Error of the converted model before.
        error_after: Float. Error of the converted model now.
        kept: Boolean. Whether the trained weights were kept; False if they were worse, so that the
            model has its old weights.
        blocks: Tuple with a `BlockDistillation` for each block, in execution order.
    """

    samples: int
    held_out: int
    error_before: float
    error_after: float
    kept: bool
    blocks: tuple[BlockDistillation, ...]


@dataclass(frozen=True)
class SlopeTrial:
    """One choice of slopes, calibrated and judged on held-out samples.

    Attributes:
        threshold: Float. The largest share of a ReLU's output that the slopes of a layer could
            leave unrestored.
        loss: Float. Mean squared change of the model's output divided by its variance.
        changed: Integer or None. Number of samples for which another output is the largest; None
            if no output is a vector.
        within: Boolean. Whether the trial is within the tolerance.
    """

    threshold: float
    loss: float
    changed: int | None
    within: bool


@dataclass(frozen=True)
class SlopeSearch:
    """The record of a search for slopes.

    Attributes:
        slopes: Dict from the path of each PReLU layer to its new slope.
        tolerance: Float. The loss that was allowed.
        within: Boolean. Whether the slopes are within the tolerance. If not even the smallest
            slopes are, it is False and the model gets the smallest slopes.
        trials: Tuple of `SlopeTrial`, in order.
        calibration: `Calibration`. The record of the calibration of the model's current weights.
    """

    slopes: dict[str, float]
    tolerance: float
    within: bool
    trials: tuple[SlopeTrial, ...]
    calibration: Calibration
