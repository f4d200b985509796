"""Checks of single arguments, with one line that names the argument and its valid values."""

from __future__ import annotations

import math
import numbers
import os
from pathlib import Path
from typing import Any

from keras_prelu.errors import InvalidArgumentError

__all__ = ["check_integer", "check_number", "check_path"]


def check_integer(name: str, value: Any, *, minimum: int) -> None:
    """Check that an argument is an integer from a minimum on.

    Args:
        name: String. Name of the argument.
        value: Any. Its value. NumPy's integers are integers, booleans and text are not.
        minimum: Integer. The smallest valid value.

    Raises:
        InvalidArgumentError: A `ValueError`; it is not.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise InvalidArgumentError(
            f"`{name}` must be an integer of at least {minimum}. Received: {name}={value!r}"
        )


def check_number(
    name: str, value: Any, *, minimum: float | None = None, above: float | None = None
) -> None:
    """Check that an argument is a finite number within bounds.

    Args:
        name: String. Name of the argument.
        value: Any. Its value. NumPy's numbers are numbers, booleans and text are not.
        minimum: Float or None. The smallest valid value. Defaults to None.
        above: Float or None. The largest number that is too small. Defaults to None.

    Raises:
        InvalidArgumentError: A `ValueError`; it is not.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if (
        not is_number
        or not math.isfinite(value)
        or (minimum is not None and value < minimum)
        or (above is not None and value <= above)
    ):
        bound = (
            f" of at least {minimum:g}"
            if minimum is not None
            else f" above {above:g}"
            if above is not None
            else ""
        )
        raise InvalidArgumentError(
            f"`{name}` must be a finite number{bound}. Received: {name}={value!r}"
        )


def check_path(name: str, value: Any) -> Path:
    """Return an argument as a path.

    Args:
        name: String. Name of the argument.
        value: Any. Its value.

    Raises:
        InvalidArgumentError: A `ValueError`; it is neither a string nor a path, or empty.
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise InvalidArgumentError(
            f"`{name}` must be a string or a path. Received: {type(value).__name__}"
        )
    if not os.fspath(value):
        raise InvalidArgumentError(f"`{name}` must be a path. Received: an empty string")
    return Path(value)
