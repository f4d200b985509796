"""The record of a calibration."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Calibration", "LayerCalibration"]


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
