"""The smooth relatives of ReLU that PReLU replaces on request, in backend-free Python."""

from __future__ import annotations

from typing import Final

__all__ = ["SMOOTH_LOWER_BOUNDS", "SMOOTH_NAMES"]

SMOOTH_NAMES: Final = {
    "celu": "celu",
    "elu": "elu",
    "gelu": "gelu",
    "hard_silu": "hard_silu",
    "hard_swish": "hard_silu",
    "mish": "mish",
    "selu": "selu",
    "silu": "silu",
    "softplus": "softplus",
    "swish": "silu",
}
"""The name of a smooth rectifier by the names of the functions that compute it. None has a cap."""
SMOOTH_LOWER_BOUNDS: Final = {
    "celu": -1.0,
    "elu": -1.0,
    "gelu": -0.17,
    "hard_silu": -0.375,
    "mish": -0.309,
    "selu": -1.759,
    "silu": -0.279,
    "softplus": 0.0,
}
"""Lower bounds of smooth rectifiers, with the default arguments of their functions."""
