"""What the arguments of a PReLU layer stand for, and which ones are refused."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_prelu import constraints, parameterizations
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.parameterizations import POSITIVE, Parameterization

__all__ = [
    "axes_with_slopes",
    "fit_slopes",
    "map_and_constraint",
    "slope_initializer",
    "standardize_data_format",
    "standardize_max_value",
    "standardize_shared_axes",
]


def map_and_constraint(
    parameterization: Any,
) -> tuple[Parameterization, constraints.AtLeast | None]:
    """Return the map that `PReLU(parameterization=...)` names, and the constraint of "positive".

    Args:
        parameterization: String, `Parameterization`, subclass of `Parameterization`, or dict, as in
            `parameterizations.get`; or "positive".

    Raises:
        InvalidArgumentError: A ValueError; `parameterization` is none of these.
    """
    if isinstance(parameterization, str) and parameterization == POSITIVE:
        return parameterizations.Identity(), constraints.AtLeast()
    return parameterizations.get(parameterization), None


def slope_initializer(value: Any) -> Any:
    """Return the Keras initializer of slopes that `alpha_initializer` names.

    Args:
        value: Float, array, or anything that `keras.initializers.get` accepts.

    Raises:
        InvalidArgumentError: A ValueError; it is none of these.
    """
    if isinstance(value, (bool, np.bool_)):
        raise InvalidArgumentError(
            "`alpha_initializer` must be a slope, an array of slopes or an initializer. Received:"
            f" {value!r}"
        )
    if isinstance(value, (int, float, np.number)):
        return keras.initializers.Constant(float(value))
    if isinstance(value, (list, tuple, np.ndarray)) or ops.is_tensor(value):
        slopes = ops.convert_to_numpy(value) if ops.is_tensor(value) else value
        return keras.initializers.Constant(np.asarray(slopes, dtype="float32"))
    initializer = keras.initializers.get(value)
    if initializer is None:
        raise InvalidArgumentError(
            "`alpha_initializer` must be a slope, an array of slopes or an initializer. Received:"
            " None"
        )
    return initializer


def fit_slopes(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Return slopes in the shape of the variable.

    They are broadcast, or hold one value for each slope in order.

    Args:
        value: Float or array. Slopes.
        shape: Tuple of integers. The shape of the variable.
        name: String. The name of the layer.

    Raises:
        InvalidArgumentError: A ValueError; the slopes do not fit the shape.
    """
    slopes = np.asarray(value, dtype=np.float64)
    if slopes.size == math.prod(shape):
        return slopes.reshape(shape)
    try:
        return np.broadcast_to(slopes, shape)
    except ValueError:
        raise InvalidArgumentError(
            f"`alpha_initializer` of PReLU layer '{name}' has shape {slopes.shape}, which fits"
            f" neither the slopes' shape {shape} nor their number."
        ) from None


def standardize_shared_axes(value: Any) -> str | list[int] | None:
    """Return `shared_axes` as a string, a list of axes or None.

    Raises:
        InvalidArgumentError: A ValueError; it is none of these.
    """
    if value is None or value in ("channel_wise", "channel_shared"):
        return value
    axes = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(axis, (int, np.integer)) and not isinstance(axis, bool) for axis in axes):
        raise InvalidArgumentError(
            "`shared_axes` must be 'channel_wise', 'channel_shared', None, or an int or ints."
            f" Received: shared_axes={value!r}"
        )
    return [int(axis) for axis in axes]


def axes_with_slopes(
    rank: int, shared_axes: str | list[int] | None, data_format: str, name: str
) -> tuple[int, ...]:
    """Return the axes along which slopes differ.

    Args:
        rank: Integer. The rank of the inputs.
        shared_axes: As `standardize_shared_axes` returns them.
        data_format: String. As in `PReLU`.
        name: String. The name of the layer.

    Raises:
        InvalidArgumentError: A ValueError; the rank is below 2, or the inputs have no such axes.
    """
    if rank < 2:
        raise InvalidArgumentError(
            f"PReLU layer '{name}' needs inputs of rank 2 or more, batch first. Received:"
            f" rank {rank}"
        )
    if shared_axes == "channel_shared":
        return ()
    if shared_axes == "channel_wise":
        return (1,) if data_format == "channels_first" else (rank - 1,)
    axes = [] if shared_axes is None else [int(axis) for axis in shared_axes]
    shared = {axis + rank if axis < 0 else axis for axis in axes}
    if not shared <= set(range(1, rank)):
        raise InvalidArgumentError(
            f"`shared_axes` of PReLU layer '{name}' must name axes 1 to {rank - 1} of its"
            f" input of rank {rank} (axis 0 is the batch, always shared). Received:"
            f" shared_axes={shared_axes}"
        )
    return tuple(axis for axis in range(1, rank) if axis not in shared)


def standardize_max_value(value: Any) -> float | None:
    """Return `max_value` as a float or None.

    Raises:
        InvalidArgumentError: A ValueError; it is no positive number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not value > 0:
        raise InvalidArgumentError(
            f"`max_value` must be a positive number or None. Received: max_value={value!r}"
        )
    return float(value)


def standardize_data_format(value: Any) -> str:
    """Return `data_format`, or Keras's where it is None.

    Raises:
        InvalidArgumentError: A ValueError; there is no such format.
    """
    if value is None:
        value = keras.config.image_data_format()
    if value not in ("channels_last", "channels_first"):
        raise InvalidArgumentError(
            "`data_format` must be 'channels_last' or 'channels_first'. Received:"
            f" data_format={value!r}"
        )
    return str(value)
