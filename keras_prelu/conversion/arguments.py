"""The arguments of a conversion: their checks, and the choice of the rescaling.

Nothing in this module depends on a model.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu import parameterizations
from keras_prelu.errors import InvalidArgumentError, KerasPReLUWarning
from keras_prelu.parameterizations import Parameterization, Square

__all__ = [
    "LARGEST_SLOPE",
    "RESCALES",
    "SAFE_SLOPE",
    "RescalingDecision",
    "check_arguments",
    "decide_rescaling",
    "get_parameterization",
    "limit_slope",
]

RESCALES = ("auto", "none", "analytic", "moments", "calibrated")

LARGEST_SLOPE = 0.25
"""The default initial slope (He et al.'s), and the largest slope that `alpha="auto"` sets."""

SAFE_SLOPE = 0.01
"""The largest slope that `rescale="auto"` sets without samples.

It is the classical leaky slope, close enough to 0 that a trained network's function hardly changes
(a second moment changes by the factor 1 + α² = 1.0001 per layer, claim 4).
"""

SAFE_SLOPE_WITH_STATISTICS = 0.05
"""The largest slope that `rescale="auto"` sets without samples if statistics for "moments" exist.

On three kinds of trained networks with BatchNormalization it changes the outputs by 0.2 to 1.4 % of
their variance and the accuracy by at most 0.1 points; without "moments" it changes them by 1.6 to
3.8 % and 0.8 points.
"""


@dataclass(frozen=True)
class RescalingDecision:
    """How a conversion keeps the model working.

    Attributes:
        method: String. "none", "analytic", "moments" or "calibrated".
        slope: Float. The initial slope of the new layers.
        requested_slope: Float. The slope that the arguments ask for.
        searches_slopes: Boolean. Whether calibration also looks for the largest slopes.
        is_cautious: Boolean. Whether the slopes are limited because there are no samples.
    """

    method: str
    slope: float
    requested_slope: float
    searches_slopes: bool
    is_cautious: bool


def decide_rescaling(alpha: float | str, rescale: str, *, has_samples: bool) -> RescalingDecision:
    """Decide how a conversion keeps the model working.

    Args:
        alpha: Float or "auto". As in `convert`.
        rescale: String. As in `convert`.
        has_samples: Boolean. Whether there are samples to calibrate with.

    Returns:
        A `RescalingDecision`.
    """
    requested_slope = LARGEST_SLOPE if isinstance(alpha, str) else alpha
    is_cautious = rescale == "auto" and not has_samples and abs(requested_slope) > SAFE_SLOPE
    return RescalingDecision(
        method=_method(rescale, has_samples=has_samples, is_cautious=is_cautious),
        slope=(
            limit_slope(requested_slope, SAFE_SLOPE_WITH_STATISTICS)
            if is_cautious
            else requested_slope
        ),
        requested_slope=requested_slope,
        searches_slopes=alpha == "auto",
        is_cautious=is_cautious,
    )


def _method(rescale: str, *, has_samples: bool, is_cautious: bool) -> str:
    if rescale != "auto":
        return rescale
    if has_samples:
        return "calibrated"
    return "moments" if is_cautious else "none"


def limit_slope(slope: float, limit: float) -> float:
    """Return a slope whose absolute value is at most `limit`, with the same sign."""
    return math.copysign(min(abs(slope), limit), slope)


def check_arguments(*, alpha: Any, tolerance: Any, rescale: str, has_samples: bool) -> None:
    """Check the arguments of `convert` that depend on each other.

    Args:
        alpha: Float or "auto". As in `convert`.
        tolerance: Float or None. As in `convert`.
        rescale: String. As in `convert`.
        has_samples: Boolean. Whether `calibration_data` is given.

    Raises:
        InvalidArgumentError: An argument has no valid value, or arguments contradict each other.
    """
    if rescale not in RESCALES:
        raise InvalidArgumentError(
            f"`rescale` must be one of {', '.join(map(repr, RESCALES))}. Received:"
            f" rescale={rescale!r}"
        )
    if rescale == "calibrated" and not has_samples:
        raise InvalidArgumentError(
            'rescale="calibrated" needs `calibration_data`: unlabeled samples, such as a part of'
            " the training data."
        )
    if rescale in ("none", "analytic", "moments") and has_samples:
        raise InvalidArgumentError(
            f'`calibration_data` is not used by rescale="{rescale}". Leave it out, or choose'
            ' "calibrated".'
        )
    if alpha == "auto" and not (has_samples and rescale in ("auto", "calibrated")):
        raise InvalidArgumentError(
            'alpha="auto" needs `calibration_data`, unlabeled samples, and rescale="calibrated" or'
            ' "auto".'
        )
    if tolerance is not None and alpha != "auto":
        raise InvalidArgumentError(
            f'`tolerance` is for alpha="auto". Received: tolerance={tolerance}, alpha={alpha!r}'
        )
    if alpha != "auto":
        _check_slope(alpha)


def _check_slope(alpha: Any) -> None:
    is_number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    if not is_number or not math.isfinite(alpha):
        raise InvalidArgumentError(
            "`alpha` must be a finite number, the initial slope, or 'auto'. Received:"
            f" alpha={alpha!r}"
        )


def get_parameterization(identifier: Any, decision: RescalingDecision) -> Parameterization:
    """Return the parameterization for an identifier, checked to represent the initial slopes.

    Args:
        identifier: String or `Parameterization`. As in `PReLU`.
        decision: `RescalingDecision`. Its slopes are checked.

    Raises:
        InvalidArgumentError: The identifier is unknown, or the map can't represent a slope.
    """
    parameterization = parameterizations.get(identifier)
    is_stuck_at_zero = isinstance(parameterization, Square) and not parameterization.allow_zero
    if decision.requested_slope == 0 and is_stuck_at_zero:
        warnings.warn(
            'At alpha=0 the slopes of parameterization "square" get no gradient and stay 0. Use'
            ' "identity" for slopes that learn.',
            KerasPReLUWarning,
            stacklevel=5,
        )
        parameterization = Square(allow_zero=True)
    parameterization.check(decision.requested_slope)
    parameterization.check(decision.slope)
    return parameterization
