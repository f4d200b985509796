"""Type aliases that the package shares.

They document what a value is and are not checked at run time.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "FloatArray", "Shape", "Tensor"]

Tensor: TypeAlias = Any
"""A tensor of the active backend, or a symbolic `keras.KerasTensor`."""

Shape: TypeAlias = tuple[int | None, ...]
"""The shape of a tensor; None is a size that is not known."""

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype."""

FloatArray: TypeAlias = npt.NDArray[np.float64]
"""A NumPy array of float64."""
