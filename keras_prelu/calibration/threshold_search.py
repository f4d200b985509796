"""The search for the largest slopes at which a calibrated model is within its tolerance.

A calibration is what a search costs, so it takes few: how the error grows with the threshold is
interpolated between those that were measured, from what the layers are predicted to lose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import Calibration, SlopeSearch, SlopeTrial
from keras_prelu.data.prediction import predict
from keras_prelu.graph.saved_weights import SavedWeights
from keras_prelu.layers import PReLU
from keras_prelu.typing import FloatArray
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.utils.user_warnings import warn

__all__ = ["Candidates", "Decisions", "ThresholdSearch", "set_slope"]

_TRIALS = 3
"""How many calibrations there are after that of the largest slopes, unless none is within the
tolerance."""
_AIM = 0.8
"""What a trial aims at, as a share of the tolerance: the interpolation may be wrong by the rest."""
_NEAR = 0.5
"""From this share of the tolerance on, larger slopes are not looked for."""
_EXPONENTS = (0.5, 4.0)
"""Between these is the exponent with which the error grows with the predicted loss."""


@dataclass(frozen=True)
class Candidates:
    """The slopes to choose from.

    Attributes:
        slopes: List of floats, in ascending order.
        shares: Dict from path to an array with the unrestored share for each slope.
    """

    slopes: list[float]
    shares: dict[str, np.ndarray]

    def thresholds(self) -> list[float]:
        """Return all shares, in ascending order."""
        return sorted({float(share) for shares in self.shares.values() for share in shares})

    def predicted_loss(self, threshold: float) -> float:
        """Return the sum over layers of what can't be restored at a threshold."""
        chosen = self.at(threshold)
        indices = {path: self.slopes.index(slope) for path, slope in chosen.items()}
        return float(sum(self.shares[path][index] for path, index in indices.items()))

    def at(self, threshold: float) -> dict[str, float]:
        """Return for each layer the largest slope whose share is at most a threshold.

        If there is no such slope, the layer gets the smallest one.
        """
        chosen = {}
        for path, shares in self.shares.items():
            allowed = np.flatnonzero(shares <= threshold)
            chosen[path] = self.slopes[allowed[-1] if allowed.size else 0]
        return chosen


class Decisions:
    """The largest entry of each output that is a vector, compared between two models.

    Args:
        pair: `ModelPair`. The models to compare.
        inputs: List with an array of samples for each input.
    """

    def __init__(self, pair: ModelPair, inputs: list[np.ndarray]) -> None:
        self._inputs = inputs
        self._converted = _taking_lists(pair.converted)
        self._targets = self._of_model(_taking_lists(pair.original))

    def count_changes(self) -> int | None:
        """Return the number of samples on which the decisions of the two models differ now.

        Return None if no output is a vector.
        """
        if not self._targets:
            return None
        decisions = self._of_model(self._converted)
        return sum(int(np.sum(a != b)) for a, b in zip(self._targets, decisions, strict=True))

    def _of_model(self, model: keras.Model) -> list[np.ndarray]:
        inputs = self._inputs if len(self._inputs) > 1 else self._inputs[0]
        outputs = predict(model, inputs, batch_size=model.inputs[0].shape[0])
        return [
            output.argmax(axis=-1)
            for output in keras.tree.flatten(outputs)
            if output.ndim == 2 and output.shape[1] > 1
        ]


@on_large_graphs
def _taking_lists(model: keras.Model) -> keras.Model:
    """Return a model over the same layers that takes its inputs as a list."""
    return keras.Model(list(model.inputs), list(model.outputs), name=model.name)


@dataclass(frozen=True)
class _Outcome:
    """A trial, its calibration, and the values of the variables after it."""

    trial: SlopeTrial
    calibration: Calibration
    values: SavedWeights


@dataclass
class _Bounds:
    """What is known of the thresholds, which are counted in ascending order.

    Attributes:
        predicted: List of floats. The predicted loss at each of them.
        above: Pair of the lowest one that is not within the tolerance, and the error there.
        below: The same of the highest one that is, or None.
        further: The one that was `above` before, or None.
    """

    predicted: list[float]
    above: tuple[int, float]
    below: tuple[int, float] | None = None
    further: tuple[int, float] | None = None

    def add(self, index: int, error: float, *, within: bool) -> None:
        """Note the error at a threshold."""
        if within:
            self.below = (index, error)
        else:
            self.above, self.further = (index, error), self.above

    def next_index(self, aim: float) -> int | None:
        """Return the highest threshold at which the error should be at most an aim.

        Returns:
            Integer between the bounds, or None if there is none.
        """
        lowest = 0 if self.below is None else self.below[0] + 1
        between = range(lowest, self.above[0])
        if between and not np.isfinite(self.above[1]):  # Nothing to interpolate.
            return between[len(between) // 2]
        fitting = [index for index in between if self._expected(index) <= aim]
        if fitting:
            return fitting[-1]
        return lowest if self.below is None and between else None

    def _expected(self, index: int) -> float:
        """Return the error at a threshold: a power of the predicted loss, as between two points."""
        at, error = self.above
        ratio = self._ratio(index, at)
        return error * ratio ** self._exponent()

    def _exponent(self) -> float:
        other = self.below or self.further
        if other is None:
            return 1.0
        ratio = self._ratio(other[0], self.above[0])
        if ratio in (0.0, 1.0) or min(other[1], self.above[1]) <= 0:
            return 1.0
        exponent = np.log(other[1] / self.above[1]) / np.log(ratio)
        return float(np.clip(exponent, *_EXPONENTS))

    def _ratio(self, index: int, other: int) -> float:
        """Return the ratio of the predicted losses at two thresholds."""
        return self.predicted[index] / max(self.predicted[other], 1e-30)


@dataclass(kw_only=True)
class ThresholdSearch:
    """The search over thresholds.

    Attributes:
        calibrator: `LayerwiseCalibrator` of the pair of models.
        decisions: `Decisions` on the held-out samples.
        variables: Sequence of variables of the converted model.
        layers: Mapping from path to `PReLU`. The layers that get new slopes.
        candidates: `Candidates`. The slopes to choose from.
        tolerance: Float. The allowed loss.
        on_step: Function or None. As in `find_slopes`.
    """

    calibrator: LayerwiseCalibrator
    decisions: Decisions
    variables: Sequence[Any]
    layers: Mapping[str, PReLU]
    candidates: Candidates
    tolerance: float
    on_step: Progress | None

    def __post_init__(self) -> None:
        self._initial_values = SavedWeights(self.variables)
        self._trials: list[SlopeTrial] = []

    def run(self) -> SlopeSearch:
        """Set the model to the largest slopes that are within the tolerance.

        If an exception or an interrupt occurs, the model is restored: slopes without a calibration
        are worse than none.
        """
        try:
            outcome = self._search()
        except BaseException:
            self._initial_values.restore()
            raise
        outcome.values.restore()
        if not outcome.trial.within:
            warn(self._failure(outcome.trial))
        return SlopeSearch(
            slopes={path: _mean_slope(layer) for path, layer in self.layers.items()},
            tolerance=self.tolerance,
            within=outcome.trial.within,
            trials=tuple(self._trials),
            calibration=outcome.calibration,
        )

    def _failure(self, trial: SlopeTrial) -> str:
        """Return a sentence that says by how much the smallest slopes are too large."""
        return (
            f"Even slopes of {self.candidates.slopes[0]:g} are too large: the error is"
            f" {trial.loss:.2g}, and {self.tolerance:.2g} is allowed. More samples or a larger"
            " `tolerance` may help."
        )

    def _search(self) -> _Outcome:
        """Try the largest slopes, and then thresholds at which the error should be just within the
        tolerance.

        The smallest slopes are tried if no others were within it.
        """
        thresholds = self.candidates.thresholds()
        best = self._try(thresholds[-1])
        if best.trial.within:
            return best
        bounds = _Bounds(
            predicted=[self.candidates.predicted_loss(each) for each in thresholds],
            above=(len(thresholds) - 1, best.trial.loss),
        )
        for _ in range(_TRIALS):
            if best.trial.within and best.trial.loss >= _NEAR * self.tolerance:
                break
            index = bounds.next_index(_AIM * self.tolerance)
            if index is None:
                break
            outcome = self._try(thresholds[index])
            bounds.add(index, outcome.trial.loss, within=outcome.trial.within)
            if outcome.trial.within or not best.trial.within:
                best = outcome
        if not best.trial.within and bounds.above[0] > 0:
            best = self._try(thresholds[0])
        return best

    def _try(self, threshold: float) -> _Outcome:
        self._initial_values.restore()
        for path, slope in self.candidates.at(threshold).items():
            set_slope(self.layers[path], slope)
        calibration = self.calibrator.run(self.on_step)
        trial = SlopeTrial(
            threshold=threshold,
            loss=calibration.error_after,
            changed=self.decisions.count_changes(),
            within=calibration.error_after <= self.tolerance,
        )
        self._trials.append(trial)
        return _Outcome(trial=trial, calibration=calibration, values=SavedWeights(self.variables))


def _mean_slope(layer: PReLU) -> float:
    return float(np.mean(keras.ops.convert_to_numpy(layer.alpha)))


def set_slope(layer: PReLU, slope: float | FloatArray) -> None:
    """Set the slopes of a built layer to one value or to an array of values.

    A constraint gets the nearest that it allows.
    """
    slopes = np.full(layer.beta.shape, slope)
    if layer.alpha_constraint is not None:
        slopes = keras.ops.convert_to_numpy(layer.alpha_constraint(slopes.astype("float32")))
    layer.beta.assign(layer.parameterization.beta(slopes))
