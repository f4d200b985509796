"""The constraints of weights, which Keras applies after each training step.

A weight that violates its constraint is changed by the first training step, whatever the learning
rate. Whoever changes weights therefore assigns only values that their constraints leave as they
are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.typing import Array
from keras_prelu.utils.rounding import epsilon

__all__ = [
    "constraint_of",
    "has_constraint",
    "is_kept_non_negative",
    "may_be_scaled",
    "projected",
    "satisfies_constraint",
]

_ABSOLUTE_TOLERANCE = 1e-6
"""Above what Keras's constraints add to a norm before they divide by it."""
_RELATIVE_TOLERANCE = 1e-5
_EPSILONS = 4
"""The relative tolerance for low-precision variables, in units of the rounding of their dtype."""


def constraint_of(variable: Any) -> Any:
    """Return the constraint of a variable, or None."""
    return getattr(variable, "constraint", None)


def has_constraint(variables: Iterable[Any]) -> bool:
    """Return whether any variable has a constraint."""
    return any(constraint_of(variable) is not None for variable in variables)


def may_be_scaled(variable: Any) -> bool:
    """Return whether any positive factors, one for each channel, keep a variable's constraint."""
    constraint = constraint_of(variable)
    return constraint is None or type(constraint) is keras.constraints.NonNeg


def is_kept_non_negative(variable: Any) -> bool:
    """Return whether the constraint of a variable leaves no negative value.

    Constraints of Keras other than `NonNeg` bound norms. What the user's own make of random values
    is measured.
    """
    constraint = constraint_of(variable)
    if constraint is None or type(constraint).__module__.startswith("keras."):
        return isinstance(constraint, keras.constraints.NonNeg)
    values = np.random.default_rng(0).normal(size=tuple(variable.shape))
    result = projected(variable, values)
    return result is not None and bool(np.all(result >= 0))


def projected(variable: Any, value: Array) -> Array | None:
    """Return what the constraint of a variable makes of a value, in double precision.

    Returns None if that is no value for the variable, or if the user's code fails.

    Args:
        variable: `keras.Variable`. It is not changed.
        value: Array with the shape of the variable.
    """
    constraint = constraint_of(variable)
    if constraint is None:
        return value
    # Keras gives constraints a variable, and the user's own may need one.
    candidate = keras.Variable(value, dtype=variable.dtype, trainable=False)
    try:
        result = to_float64(keras.ops.convert_to_tensor(constraint(candidate)))
    except Exception:  # Whatever the user's code raises.
        return None
    return result if result.shape == value.shape and np.all(np.isfinite(result)) else None


def satisfies_constraint(variable: Any, value: Array | None = None) -> bool:
    """Return whether the constraint of a variable leaves a value as it is, up to rounding.

    Args:
        variable: `keras.Variable`.
        value: Array with the shape of the variable. Defaults to None, the variable's own value.
    """
    if constraint_of(variable) is None:
        return True
    value = to_float64(variable) if value is None else value
    result = projected(variable, value)
    if result is None:
        return False
    largest = float(np.max(np.abs(value), initial=0.0))
    relative = max(_RELATIVE_TOLERANCE, _EPSILONS * epsilon(variable.dtype))
    return bool(np.all(np.abs(result - value) <= _ABSOLUTE_TOLERANCE + relative * largest))
