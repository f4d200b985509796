"""The largest slopes that calibration can compensate for, layer by layer.

The share of a ReLU's output that can't be restored is known for each layer and slope (see
`restorability`). One threshold on that share determines the slopes of all layers. A bisection finds
the largest threshold at which the calibrated model's loss of function stays within the tolerance on
held-out samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import Calibration
from keras_prelu.calibration.restorability import unrestored_shares
from keras_prelu.calibration.samples import CalibrationSamples, check_samples
from keras_prelu.calibration.verification import check_steps, warn_of_large_error
from keras_prelu.data.arrays import keras_arrays
from keras_prelu.errors import ConversionError, KerasPReLUWarning
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.saved_weights import SavedWeights
from keras_prelu.layers import PReLU
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.utils.checks import check_number
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["SlopeSearch", "SlopeTrial", "find_slopes", "search_slopes", "set_slope"]

_HALVINGS = 8
"""The candidates are the largest slope and that slope halved once, twice, … this many times."""
_BISECTIONS = 5

ERROR_BUDGET = 0.001
"""The default tolerance.

A plain convolutional network for Fashion-MNIST has another largest output on 1.8 % of 4,000 test
images at an error of 0.0011, and its accuracy is 0.18 points lower; at 0.0018 these are 2.2 % and
0.25 points. A few hundred samples can't show that.
"""


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


@keeps_state("original")
def find_slopes(
    converted: keras.Model,
    original: keras.Model,
    samples: Any,
    *,
    tolerance: float | None = None,
    largest: float = 0.25,
    layers: Sequence[str] | None = None,
    refit_frozen: bool = False,
    batch_size: int | None = None,
    memory_limit: float = 4e9,
    seed: int = 0,
    on_step: Progress | None = None,
) -> SlopeSearch:
    """Set each PReLU layer to the largest slope that calibration can compensate for.

    The model is changed in place and calibrated with these slopes. The search costs one pass over
    the samples and up to seven calibrations.

    Args:
        converted: `keras.Model`. The result of `convert(original, rescale="none")`.
        original: `keras.Model`. The ReLU model that `converted` was made from. It is not changed.
        samples: Unlabeled samples, as in `calibrate`.
        tolerance: Float or None. The error budget: the allowed mean squared change of the model's
            output, divided by its variance, on held-out samples. Defaults to None, 0.001, at which
            a classifier decides otherwise on one or two samples in a hundred.
        largest: Float. The largest slope to try. Further candidates are its half, quarter and so
            on, down to its 256th part. Defaults to 0.25.
        layers: Sequence of strings or None. Paths of the PReLU layers that get new slopes. Defaults
            to None, all PReLU layers.
        refit_frozen: Boolean. As in `calibrate`.
        batch_size: Integer or None. As in `calibrate`.
        memory_limit: Float. As in `calibrate`.
        seed: Integer. As in `calibrate`.
        on_step: Function. As in `calibrate`; the count restarts for each calibration.

    Returns:
        A `SlopeSearch`, the record of the search.

    Raises:
        InvalidArgumentError: A ValueError; the tolerance or the largest slope is not positive, or a
            map can't represent the slopes.
        CalibrationError, ConversionError, DataError: As in `calibrate`; or a path is not that of a
            PReLU layer.

    Example:

    >>> converted = keras_prelu.convert(model, alpha=0.25, rescale="none")
    >>> search = keras_prelu.find_slopes(converted, model, x_train[:512], tolerance=0.001)
    >>> search.within

    References:
        docs/explanation/calibration.md: a narrow layer loses what calibration can't restore.
    """
    config = CalibrationConfig(
        refit_frozen=refit_frozen, batch_size=batch_size, memory_limit=memory_limit, seed=seed
    )
    chosen = _choose_layers(converted, layers)
    _check_slopes(chosen.values(), tolerance, largest)
    checked = check_samples(original, samples)
    pair = ModelPair(original, converted, checked)
    check_steps(pair, checked)
    search = search_slopes(
        pair, checked, chosen, config, tolerance=tolerance, largest=largest, on_step=on_step
    )
    warn_of_large_error(search.calibration)
    return search


def search_slopes(
    pair: ModelPair,
    samples: CalibrationSamples,
    layers: Mapping[str, PReLU],
    config: CalibrationConfig,
    *,
    tolerance: float | None,
    largest: float,
    on_step: Progress | None,
) -> SlopeSearch:
    """Search for the slopes of a pair of models. See `find_slopes`.

    Args:
        pair: `ModelPair`. Its converted model is changed in place.
        samples: `CalibrationSamples`. The samples to calibrate and judge with.
        layers: Mapping from path to `PReLU`. The layers that get new slopes.
        config: `CalibrationConfig`. The settings of each calibration.
        tolerance: Float or None. As in `find_slopes`.
        largest: Float. As in `find_slopes`.
        on_step: Function or None. As in `find_slopes`.
    """
    calibrator = LayerwiseCalibrator(pair, samples, config)
    held_out = [array[calibrator.split.held_out] for array in samples.arrays]
    decisions = _Decisions(pair, held_out)
    slopes = _candidate_slopes(largest)
    shares = unrestored_shares(
        pair.plan,
        samples.arrays,
        layers,
        slopes,
        batch_size=calibrator.batch_size,
        rng=np.random.default_rng(config.seed),
    )
    search = _Search(
        calibrator=calibrator,
        decisions=decisions,
        variables=pair.converted.variables,
        layers=layers,
        candidates=_Candidates(slopes=slopes, shares=shares),
        tolerance=ERROR_BUDGET if tolerance is None else tolerance,
        on_step=on_step,
    )
    return search.run()


def set_slope(layer: PReLU, slope: float) -> None:
    """Set all slopes of a built layer to one value, or to the nearest that a constraint allows."""
    slopes = np.full(layer.beta.shape, slope)
    if layer.alpha_constraint is not None:
        slopes = keras.ops.convert_to_numpy(layer.alpha_constraint(slopes.astype("float32")))
    layer.beta.assign(layer.parameterization.beta(slopes))


def _candidate_slopes(largest: float) -> list[float]:
    """Return the slopes to try, in ascending order."""
    return [largest * 0.5**halvings for halvings in range(_HALVINGS, -1, -1)]


def _choose_layers(converted: keras.Model, paths: Sequence[str] | None) -> dict[str, PReLU]:
    layers = dict(prelu_layers(converted))
    if not layers:
        raise ConversionError(f"Model '{converted.name}' has no PReLU layer. Convert it first.")
    if paths is None:
        return layers
    missing = [path for path in paths if path not in layers]
    if missing:
        raise ConversionError(
            f"'{missing[0]}' is not a PReLU layer of the model, which are: {', '.join(layers)}."
        )
    return {path: layers[path] for path in paths}


def _check_slopes(layers: Iterable[PReLU], tolerance: float | None, largest: float) -> None:
    if tolerance is not None:
        check_number("tolerance", tolerance, above=0.0)
    check_number("largest", largest, above=0.0)
    for layer in layers:
        layer.parameterization.check(np.asarray(_candidate_slopes(largest)))


@dataclass(frozen=True)
class _Candidates:
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

    def at(self, threshold: float) -> dict[str, float]:
        """Return for each layer the largest slope whose share is at most a threshold.

        If there is no such slope, the layer gets the smallest one.
        """
        chosen = {}
        for path, shares in self.shares.items():
            allowed = np.flatnonzero(shares <= threshold)
            chosen[path] = self.slopes[allowed[-1] if allowed.size else 0]
        return chosen


class _Decisions:
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
        inputs = keras_arrays(self._inputs if len(self._inputs) > 1 else self._inputs[0])
        outputs = model.predict(inputs, batch_size=model.inputs[0].shape[0], verbose=0)
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


class _Search:
    """The bisection over thresholds.

    Args:
        calibrator: `LayerwiseCalibrator` of the pair of models.
        decisions: `_Decisions` on the held-out samples.
        variables: Sequence of variables of the converted model.
        layers: Mapping from path to `PReLU`. The layers that get new slopes.
        candidates: `_Candidates`. The slopes to choose from.
        tolerance: Float. The allowed loss.
        on_step: Function or None. As in `find_slopes`.
    """

    def __init__(
        self,
        *,
        calibrator: LayerwiseCalibrator,
        decisions: _Decisions,
        variables: Sequence[Any],
        layers: Mapping[str, PReLU],
        candidates: _Candidates,
        tolerance: float,
        on_step: Progress | None,
    ) -> None:
        self._calibrator = calibrator
        self._decisions = decisions
        self._variables = variables
        self._layers = layers
        self._candidates = candidates
        self._tolerance = tolerance
        self._on_step = on_step
        self._initial_values = SavedWeights(variables)
        self._trials: list[SlopeTrial] = []

    def run(self) -> SlopeSearch:
        """Set the model to the largest slopes that are within the tolerance.

        If an exception or an interrupt occurs, the model is restored: slopes without a calibration
        are worse than none.
        """
        try:
            outcome = self._bisect()
        except BaseException:
            self._initial_values.restore()
            raise
        outcome.values.restore()
        if not outcome.trial.within:
            warnings.warn(self._failure(outcome.trial), KerasPReLUWarning, stacklevel=4)
        return SlopeSearch(
            slopes={path: _mean_slope(layer) for path, layer in self._layers.items()},
            tolerance=self._tolerance,
            within=outcome.trial.within,
            trials=tuple(self._trials),
            calibration=outcome.calibration,
        )

    def _failure(self, trial: SlopeTrial) -> str:
        """Return a sentence that says by how much the smallest slopes are too large."""
        return (
            f"Even slopes of {self._candidates.slopes[0]:g} are too large: the error is"
            f" {trial.loss:.2g}, and {self._tolerance:.2g} is allowed. More samples or a larger"
            " `tolerance` may help."
        )

    def _bisect(self) -> _Outcome:
        """Try the largest slopes, then the smallest, then the thresholds between.

        The smallest slopes are tried only if the largest are too large, and the thresholds between
        only if the smallest are not.
        """
        thresholds = self._candidates.thresholds()
        low, high = 0, len(thresholds) - 1
        best = self._try(thresholds[high])
        if best.trial.within or low == high:
            return best
        best = self._try(thresholds[low])
        if not best.trial.within:
            return best
        for _ in range(_BISECTIONS):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            outcome = self._try(thresholds[middle])
            if outcome.trial.within:
                low, best = middle, outcome
            else:
                high = middle
        return best

    def _try(self, threshold: float) -> _Outcome:
        self._initial_values.restore()
        for path, slope in self._candidates.at(threshold).items():
            set_slope(self._layers[path], slope)
        calibration = self._calibrator.run(self._on_step)
        trial = SlopeTrial(
            threshold=threshold,
            loss=calibration.error_after,
            changed=self._decisions.count_changes(),
            within=calibration.error_after <= self._tolerance,
        )
        self._trials.append(trial)
        return _Outcome(trial=trial, calibration=calibration, values=SavedWeights(self._variables))


def _mean_slope(layer: PReLU) -> float:
    return float(np.mean(keras.ops.convert_to_numpy(layer.alpha)))
