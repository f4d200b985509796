"""Warnings at the line of the user's code that called the package."""

from __future__ import annotations

import inspect
import os
import warnings
from pathlib import Path

from keras_prelu.errors import KerasPReLUWarning

__all__ = ["warn"]

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


def warn(message: str) -> None:
    """Issue a `KerasPReLUWarning` that names the line at which the package was called.

    Numbers of stack levels would have to be counted anew for each function and decorator between
    that line and the warning.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, KerasPReLUWarning, stacklevel=level)
