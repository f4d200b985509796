"""What a calibration did: its record."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Calibration", "LayerCalibration"]


@dataclass(frozen=True)
class LayerCalibration:
    """What calibration did to one linear layer.

    Attributes:
        path: The layer's path.
        layer: Its class name.
        rows: Rows of its least-squares problem (output positions of samples).
        unknowns: Weights of one output, bias included.
        ridge: λ of the fit relative to the mean diagonal of its Gram matrix; None where nothing was
            fitted.
        error_before: Mean squared error of its output, in the converted model with the earlier
            layers refitted, over the variance of its output in the original; on held-out samples.
            None where it was not computed.
        error_after: The same after the refit.
        action: "refitted", or "kept" and why.
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
    """What a calibration did. Errors are mean squared changes of the model's output over its
    variance, on held-out samples.

    Attributes:
        samples: Number of samples, held-out ones included.
        held_out: How many of them were held out from the fits.
        error_before: The converted model's error before calibration.
        error_after: Its error now.
        kept: Whether the refitted weights were kept; False where they were worse, and the model has
            its old weights.
        layers: A record for each layer with a weight matrix, in execution order.
    """

    samples: int
    held_out: int
    error_before: float
    error_after: float
    kept: bool
    layers: tuple[LayerCalibration, ...]
