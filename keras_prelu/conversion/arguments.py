"""The arguments of a conversion: their checks, the new slopes, and the choice of the rescaling.

Nothing in this module depends on a model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.constraints import AtLeast
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layer_arguments import map_and_constraint
from keras_prelu.parameterizations import Identity, Parameterization, Square
from keras_prelu.sites.selection import Selector
from keras_prelu.utils.checks import check_number
from keras_prelu.utils.user_warnings import warn

__all__ = [
    "LARGEST_SLOPE",
    "RESCALES",
    "RESCALES_ON_SAMPLES",
    "TARGETS",
    "ConversionArguments",
    "NewSlopes",
    "check_arguments",
    "check_target",
    "choose_method",
    "choose_slopes",
    "given_arguments",
]

RESCALES = ("auto", "none", "analytic", "moments", "calibrated", "distilled")
TARGETS = ("prelu", "relu", "leaky_relu")
RESCALES_ON_SAMPLES = ("calibrated", "distilled")

LARGEST_SLOPE = 0.25
"""The initial slope where positive slopes are chosen without a number (He et al.'s), and the
largest slope that `alpha="auto"` sets."""


_OF_PRELU_LAYERS = (
    "alpha",
    "tolerance",
    "parameterization",
    "alpha_regularizer",
    "beta_regularizer",
    "profile",
    "shared_axes",
    "keep_slopes",
    "train_frozen_slopes",
)
"""The arguments of a conversion that are of use for PReLU layers only."""


@dataclass(frozen=True, kw_only=True)
class ConversionArguments:
    """The arguments of a conversion, and their defaults, as in `convert`."""

    to: str = "prelu"
    alpha: float | str | None = None
    tolerance: float | None = None
    parameterization: Any = None
    shared_axes: Any = "channel_wise"
    alpha_regularizer: Any = None
    beta_regularizer: Any = None
    rescale: str = "auto"
    include: Selector = None
    exclude: Selector = None
    keep_slopes: bool = True
    train_frozen_slopes: bool = False
    verify: bool = True
    profile: str | None = None


def given_arguments(arguments: ConversionArguments, names: Iterable[str]) -> dict[str, Any]:
    """Return those among some arguments that do not have their default.

    Args:
        arguments: `ConversionArguments`.
        names: Iterable of strings.
    """
    defaults = ConversionArguments()
    values = {name: getattr(arguments, name) for name in names}
    return {
        name: value for name, value in values.items() if not _is(value, getattr(defaults, name))
    }


def _is(value: Any, default: Any) -> bool:
    """Return whether an argument has its default; an array has no truth value to compare by."""
    return value is default if default is None else bool(np.all(value == default))


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


def check_arguments(arguments: ConversionArguments, *, has_samples: bool) -> None:
    """Check the arguments of a conversion to PReLU that depend on each other.

    Args:
        arguments: `ConversionArguments`.
        has_samples: Boolean. Whether `calibration_data` is given.

    Raises:
        InvalidArgumentError: An argument has no valid value, or arguments contradict each other.
    """
    alpha, tolerance, rescale = arguments.alpha, arguments.tolerance, arguments.rescale
    _check_rescale(rescale, has_samples=has_samples)
    if alpha is not None and not isinstance(alpha, str):
        _check_slope(alpha)
    if alpha == "auto" and not (has_samples and rescale in ("auto", *RESCALES_ON_SAMPLES)):
        raise InvalidArgumentError(
            'alpha="auto" needs `calibration_data`, unlabeled samples, and rescale="calibrated",'
            ' "distilled" or "auto".'
        )
    if tolerance is not None and alpha != "auto":
        raise InvalidArgumentError(
            f'`tolerance` is for alpha="auto". Received: tolerance={tolerance}, alpha={alpha!r}'
        )
    if tolerance is not None:
        check_number("tolerance", tolerance, minimum=0.0)
    if alpha is not None and alpha != "auto":
        _check_slope(alpha)
    for name in ("alpha_regularizer", "beta_regularizer"):
        _check_regularizer(name, getattr(arguments, name))


def check_target(arguments: ConversionArguments, *, has_samples: bool) -> None:
    """Check the arguments of a conversion to ReLU or LeakyReLU.

    Args:
        arguments: `ConversionArguments`.
        has_samples: Boolean. Whether `calibration_data` is given.

    Raises:
        InvalidArgumentError: An argument has no valid value, or is of no use here.
    """
    to, rescale = arguments.to, arguments.rescale
    if to not in TARGETS:
        raise InvalidArgumentError(
            f"`to` must be one of {', '.join(map(repr, TARGETS))}. Received: to={to!r}"
        )
    for name, value in given_arguments(arguments, _OF_PRELU_LAYERS).items():
        raise InvalidArgumentError(
            f"`{name}` is for PReLU layers: leave it out with to={to!r}. Received: {name}={value!r}"
        )
    if rescale not in ("auto", "none", *RESCALES_ON_SAMPLES):
        raise InvalidArgumentError(
            f'With to={to!r}, `rescale` must be "auto", "none", "calibrated" or "distilled".'
            f" Received: rescale={rescale!r}"
        )
    _check_rescale(rescale, has_samples=has_samples)


def _check_rescale(rescale: str, *, has_samples: bool) -> None:
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


def _check_regularizer(name: str, regularizer: Any) -> None:
    try:
        keras.regularizers.get(regularizer)
    except Exception as error:  # Keras raises errors of several classes.
        raise InvalidArgumentError(
            f"`{name}` must be a Keras regularizer, such as keras.regularizers.L2(0.01), or None."
            f" Received: {name}={regularizer!r}"
        ) from error


def _check_slope(alpha: Any) -> None:
    is_number = isinstance(alpha, (int, float, np.number)) and not isinstance(alpha, bool)
    if not is_number or not math.isfinite(alpha):
        raise InvalidArgumentError(
            "`alpha` must be a finite number, the initial slope, 'auto', or None. Received:"
            f" alpha={alpha!r}"
        )
