"""Calls of Sequential models on symbolic tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

__all__ = ["specs_by_call"]


@contextmanager
def specs_by_call(model: keras.Model) -> Iterator[None]:
    """Let a Sequential model that has no graph be called on symbolic tensors as on real ones.

    Such a model takes several inputs. For symbolic ones, Keras hands the argument `training` to all
    of its layers, also to those that take none. Other models are left as they are.
    """
    if not isinstance(model, keras.Sequential):
        yield
        return

    def compute_output_spec(*args: Any, **kwargs: Any) -> Any:
        return keras.Operation.compute_output_spec(model, *args, **kwargs)

    # Not tracked by Keras, which would lock the attribute of a model that is built.
    vars(model)["compute_output_spec"] = compute_output_spec
    try:
        yield
    finally:
        del vars(model)["compute_output_spec"]
