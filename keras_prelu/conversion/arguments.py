"""The arguments of a conversion: their checks, the new slopes, and the choice of the rescaling.

Nothing in this module depends on a model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_prelu.constraints import AtLeast
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import map_and_constraint
from keras_prelu.parameterizations import Identity, Parameterization, Square
from keras_prelu.utils.user_warnings import warn

__all__ = [
    "LARGEST_SLOPE",
    "RESCALES",
    "RESCALES_ON_SAMPLES",
    "TARGETS",
    "NewSlopes",
    "check_arguments",
    "check_target",
    "choose_method",
    "choose_slopes",
]

RESCALES = ("auto", "none", "analytic", "moments", "calibrated", "distilled")
TARGETS = ("prelu", "relu", "leaky_relu")
RESCALES_ON_SAMPLES = ("calibrated", "distilled")

LARGEST_SLOPE = 0.25
"""The initial slope where positive slopes are chosen without a number (He et al.'s), and the
largest slope that `alpha="auto"` sets."""


@dataclass(frozen=True)
class NewSlopes:
    """The slopes that a conversion gives to sites without slopes of their own.

    Attributes:
        slope: Float. The initial slope.
        parameterization: `Parameterization`. The map from raw parameters to slopes.
        constraint: `AtLeast`, the constraint of slopes, or None.
        are_searched: Boolean. Whether calibration looks for the largest slopes.
        are_fitted: Boolean. Whether slopes that replace smooth activations are fitted to these.
    """

    slope: float
    parameterization: Parameterization
    constraint: AtLeast | None
    are_searched: bool
    are_fitted: bool


def choose_slopes(
    alpha: float | str | None, parameterization: Any, rescale: str, *, has_samples: bool
) -> NewSlopes:
    """Choose the new slopes of a conversion.

    Without any of these arguments they start at 0 under "identity", where the function does not
    change. Samples, and a rescaling that is named, are of use for other slopes only, so each of
    them is a choice of such slopes.

    Args:
        alpha: Float, "auto" or None. As in `convert`.
        parameterization: String, `Parameterization` or None. As in `convert`.
        rescale: String. As in `convert`.
        has_samples: Boolean. Whether there are samples.

    Returns:
        `NewSlopes`. The map can represent the slope.

    Raises:
        InvalidArgumentError: The parameterization is unknown, or can't represent the slope.
    """
    starts_at_zero = not has_samples and rescale == "auto"
    if parameterization is None:
        slope = _given_slope(alpha, 0.0 if starts_at_zero else LARGEST_SLOPE)
        parameterization = "exp" if slope > 0 else "identity"
        chosen, constraint = map_and_constraint(parameterization)
    else:
        chosen, constraint = map_and_constraint(parameterization)
        default = LARGEST_SLOPE
        if constraint is not None:
            default = constraint.minimum
        elif isinstance(chosen, Identity) and starts_at_zero:
            default = 0.0
        slope = _given_slope(alpha, default)
    chosen = _allowing_zero(chosen, slope)
    chosen.check(slope)
    if constraint is not None:
        constraint.check(slope)
    return NewSlopes(
        slope=slope,
        parameterization=chosen,
        constraint=constraint,
        are_searched=alpha == "auto",
        are_fitted=alpha is None or alpha == "auto",
    )


def _given_slope(alpha: float | str | None, default: float) -> float:
    if alpha is None:
        return default
    return LARGEST_SLOPE if isinstance(alpha, str) else float(alpha)


def _allowing_zero(parameterization: Parameterization, slope: float) -> Parameterization:
    """Return a "square" that represents a slope of 0, with a warning; or else the map itself."""
    is_square = isinstance(parameterization, Square) and not parameterization.allow_zero
    if slope != 0 or not is_square:
        return parameterization
    warn(
        'At alpha=0 the slopes of parameterization "square" get no gradient and stay 0. Use'
        ' "identity" for slopes that learn.',
    )
    return Square(allow_zero=True)


def choose_method(rescale: str, *, has_samples: bool) -> str:
    """Return how a conversion keeps the model's function: one of `RESCALES` but "auto".

    Args:
        rescale: String. As in `convert`.
        has_samples: Boolean. Whether there are samples to calibrate with.
    """
    if rescale != "auto":
        return rescale
    return "calibrated" if has_samples else "none"


def check_arguments(*, alpha: Any, tolerance: Any, rescale: str, has_samples: bool) -> None:
    """Check the arguments of `convert` that depend on each other.

    Args:
        alpha: Float, "auto" or None. As in `convert`.
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
    if rescale in RESCALES_ON_SAMPLES and not has_samples:
        raise InvalidArgumentError(
            f'rescale="{rescale}" needs `calibration_data` (--data): unlabeled samples, such as a'
            " part of the training data."
        )
    if alpha == "auto" and not (has_samples and rescale in ("auto", *RESCALES_ON_SAMPLES)):
        raise InvalidArgumentError(
            'alpha="auto" needs `calibration_data`, unlabeled samples, and rescale="calibrated",'
            ' "distilled" or "auto".'
        )
    if tolerance is not None and alpha != "auto":
        raise InvalidArgumentError(
            f'`tolerance` is for alpha="auto". Received: tolerance={tolerance}, alpha={alpha!r}'
        )
    if alpha is not None and alpha != "auto":
        _check_slope(alpha)


def check_target(to: str, rescale: str, *, has_samples: bool, **of_slopes: Any) -> None:
    """Check the arguments of a conversion to ReLU or LeakyReLU.

    Args:
        to: String. As in `convert`.
        rescale: String. As in `convert`.
        has_samples: Boolean. Whether `calibration_data` is given.
        **of_slopes: Any. The arguments of `convert` on the slopes of PReLU layers.

    Raises:
        InvalidArgumentError: An argument has no valid value, or is of no use here.
    """
    if to not in TARGETS:
        raise InvalidArgumentError(
            f"`to` must be one of {', '.join(map(repr, TARGETS))}. Received: to={to!r}"
        )
    for name, value in of_slopes.items():
        if value is not None:
            raise InvalidArgumentError(
                f"`{name}` is for PReLU layers: leave it out with to={to!r}. Received:"
                f" {name}={value!r}"
            )
    if rescale not in ("auto", "none", *RESCALES_ON_SAMPLES):
        raise InvalidArgumentError(
            f'With to={to!r}, `rescale` must be "auto", "none", "calibrated" or "distilled".'
            f" Received: rescale={rescale!r}"
        )
    check_arguments(alpha=None, tolerance=None, rescale=rescale, has_samples=has_samples)


def _check_slope(alpha: Any) -> None:
    is_number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    if not is_number or not math.isfinite(alpha):
        raise InvalidArgumentError(
            "`alpha` must be a finite number, the initial slope, 'auto', or None. Received:"
            f" alpha={alpha!r}"
        )
