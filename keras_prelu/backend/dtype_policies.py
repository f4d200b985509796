"""Keras's default dtype policy, set for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

__all__ = ["default_dtype_policy"]


@contextmanager
def default_dtype_policy(policy: Any) -> Iterator[None]:
    """Give layers that are created in the context a dtype policy, unless they are given another.

    Args:
        policy: Dtype policy or its name.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
