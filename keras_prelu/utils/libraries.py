"""Which library an object comes from, as the name of its module says."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["FRAMEWORKS", "LIBRARIES", "is_of_user", "package_of"]

FRAMEWORKS = frozenset({"jax", "jaxlib", "keras", "tensorflow", "torch"})
"""Packages whose functions rectify."""
LIBRARIES = FRAMEWORKS | {"builtins", "keras_prelu", "numpy"}
"""Packages whose code is not followed."""


def package_of(value: Any) -> str:
    """Return the name of the top-level package that defines an object, or an empty string."""
    return str(getattr(value, "__module__", "")).split(".")[0]


def is_of_user(value: Any) -> bool:
    """Return whether a function or class belongs neither to Python, nor to Keras or a backend."""
    package = package_of(value)
    return package not in LIBRARIES and package not in sys.stdlib_module_names
