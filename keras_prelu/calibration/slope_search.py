"""The largest slopes that calibration can compensate for, layer by layer.

The share of a ReLU's output that can't be restored is known for each layer and slope (see
`restorability`). One threshold on that share determines the slopes of all layers. A search finds
the largest threshold at which the calibrated model's loss of function stays within the tolerance on
held-out samples (`threshold_search`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.model_pair import ModelPair, check_models
from keras_prelu.calibration.records import SlopeSearch, SlopeTrial
from keras_prelu.calibration.restorability import unrestored_shares
from keras_prelu.calibration.samples import CalibrationSamples, check_samples
from keras_prelu.calibration.threshold_search import (
    Candidates,
    Decisions,
    ThresholdSearch,
    set_slope,
)
from keras_prelu.calibration.verification import check_steps, warn_of_large_error
from keras_prelu.errors import ConversionError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.layers import PReLU
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.utils.checks import check_number

__all__ = [
    "ERROR_BUDGET",
    "SlopeSearch",
    "SlopeTrial",
    "candidate_slopes",
    "find_slopes",
    "search_slopes",
    "set_slope",
]

_HALVINGS = 8
"""The candidates are the largest slope and that slope halved once, twice, … this many times."""

ERROR_BUDGET = 0.001
"""The default tolerance.

A plain convolutional network for Fashion-MNIST has another largest output on 1.8 % of 4,000 test
images at an error of 0.0011, and its accuracy is 0.18 points lower; at 0.0018 these are 2.2 % and
0.25 points. A few hundred samples can't show that.
"""


@models_by_name("original")
@keeps_state("original")
def find_slopes(
    converted: keras.Model,
    original: ModelLike,
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
    the samples and one to four calibrations: one if the largest slopes are within the tolerance,
    and mostly two or three; a fifth if only the smallest can be.

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
    check_models(converted, original)
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
    decisions = Decisions(pair, held_out)
    slopes = candidate_slopes(largest)
    shares = unrestored_shares(
        pair.plan,
        samples.arrays,
        layers,
        slopes,
        batch_size=calibrator.batch_size,
        rng=np.random.default_rng(config.seed),
    )
    search = ThresholdSearch(
        calibrator=calibrator,
        decisions=decisions,
        variables=pair.converted.variables,
        layers=layers,
        candidates=Candidates(slopes=slopes, shares=shares),
        tolerance=ERROR_BUDGET if tolerance is None else tolerance,
        on_step=on_step,
    )
    return search.run()


def candidate_slopes(largest: float) -> list[float]:
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
        layer.parameterization.check(np.asarray(candidate_slopes(largest)))
