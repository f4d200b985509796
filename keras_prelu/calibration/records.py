"""The records of a calibration, a search for slopes and a distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_prelu.display.figures import calibration_figure
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table, number

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
class _JudgedWeights(Shown):
    """What the record of new weights says of the whole model, as in `Calibration`."""

    samples: int
    held_out: int
    error_before: float
    error_after: float
    kept: bool

    _undone: ClassVar[str]
    """What there is to say where the new weights were not kept."""

    def sentences(self) -> tuple[str, ...]:
        """Return what the new weights reached."""
        reached = (
            "Error of the model's output on held-out samples:"
            f" {number(self.error_before)} → {number(self.error_after)}"
        )
        return (reached, *([] if self.kept else [self._undone]))


@dataclass(frozen=True)
class Calibration(_JudgedWeights):
    """The record of a calibration.

    Errors are mean squared changes of the model's output, divided by its variance, on held-out
    samples.

    Attributes:
        samples: Integer. Number of samples, held-out ones included.
        held_out: Integer. Number of samples that were held out from the fits.
        error_before: Float. Error of the converted model before calibration.
        error_after: Float. Error of the converted model now.
        kept: Boolean. Whether the refitted weights were kept; False if they were not clearly
            better, so that the model has its old weights.
        layers: Tuple with a `LayerCalibration` for each layer that has a weight matrix, in
            execution order.
    """

    layers: tuple[LayerCalibration, ...]

    _undone = (
        "The refit did not lower the error on held-out samples by more than its scatter, so the"
        " weights are unchanged. More samples may help."
    )

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the layers."""
        title = (
            f"Calibration on {self.samples} samples, {self.held_out} of them held out; errors"
            " relative to the variance of the output"
        )
        table = Table(
            title=title,
            columns=["layer", "class", "rows", "unknowns", "ridge", "before", "after", "action"],
            rows=[
                [
                    layer.path,
                    layer.layer,
                    layer.rows,
                    layer.unknowns,
                    number(layer.ridge),
                    number(layer.error_before),
                    number(layer.error_after),
                    layer.action,
                ]
                for layer in self.layers
            ],
            right=["rows", "unknowns", "ridge", "before", "after"],
            worst=[layer.error_after for layer in self.layers],
        )
        return (table,)

    def plot(self) -> Any:
        """Return a matplotlib figure of each layer's error before and after its refit."""
        return calibration_figure(self)


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
class Distillation(_JudgedWeights):
    """The record of a distillation.

    Errors are mean squared changes of the model's output, divided by its variance, on held-out
    samples.

    Attributes:
        samples: Integer. Number of samples, held-out ones included.
        held_out: Integer. Number of samples that were held out from the training.
        error_before: Float. Error of the converted model before.
        error_after: Float. Error of the converted model now.
        kept: Boolean. Whether the trained weights were kept; False if they were not clearly
            better, so that the model has its old weights.
        blocks: Tuple with a `BlockDistillation` for each block, in execution order.
    """

    blocks: tuple[BlockDistillation, ...]

    _undone = (
        "Training did not lower this error by more than its scatter, so the weights are those of"
        " the calibration."
    )

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the blocks."""
        table = Table(
            title="Distillation; errors of each block's output relative to its variance",
            columns=["block, up to", "layers", "steps", "before", "after", "trained weights"],
            rows=[
                [
                    block.path,
                    block.layers,
                    block.steps,
                    number(block.error_before),
                    number(block.error_after),
                    "kept" if block.kept else "undone" if block.steps else "–",
                ]
                for block in self.blocks
            ],
            right=["layers", "steps", "before", "after"],
            worst=[block.error_after for block in self.blocks],
        )
        return (table,)


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
class SlopeSearch(Shown):
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

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the slopes."""
        table = Table(
            title="Largest slopes that calibration compensates",
            columns=["layer", "slope"],
            rows=[[path, number(slope)] for path, slope in self.slopes.items()],
            right=["slope"],
            worst=[-slope for slope in self.slopes.values()],
        )
        return (table,)

    def sentences(self) -> tuple[str, ...]:
        """Return how the slopes were found."""
        return (
            f"Found in {len(self.trials)} calibrations. Error allowed on held-out samples:"
            f" {number(self.tolerance)}.",
        )
