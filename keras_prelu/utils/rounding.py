"""How coarse floating-point dtypes are."""

from __future__ import annotations

__all__ = ["EPSILONS", "epsilon"]

EPSILONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The distance from 1 to the next number, by dtype. NumPy knows no bfloat16."""


def epsilon(dtype: str) -> float:
    """Return the distance from 1 to the next number of a dtype, for other dtypes that of float32.

    Args:
        dtype: String. Name of a dtype.
    """
    return EPSILONS.get(dtype, EPSILONS["float32"])
