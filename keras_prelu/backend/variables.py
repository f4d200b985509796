"""The values of variables, which TensorFlow, JAX and PyTorch keep and share in different ways."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

__all__ = ["assign_copy", "outside_of_graphs", "snapshot"]


def assign_copy(target: keras.Variable, source: keras.Variable) -> None:
    """Give a variable the value of another, in memory of its own once one of them changes.

    JAX would let both hold one array, which a training step of one model donates and so takes from
    the other. PyTorch copies into the variable's memory, TensorFlow when either is written to: a
    copy beforehand would only be one more.
    """
    target.assign(keras.ops.copy(source) if keras.backend.backend() == "jax" else source)


def snapshot(variable: Any) -> np.ndarray:
    """A variable's value as an array of its own.

    `keras.ops.convert_to_numpy` may return a view: on PyTorch of memory that the next `assign`
    overwrites, on JAX of a buffer that the next training step donates. `other.assign(variable)`
    shares such a buffer too.
    """
    return np.array(keras.ops.convert_to_numpy(variable), copy=True)


def outside_of_graphs() -> AbstractContextManager[Any]:
    """A context in which tensors have values, also while a `tf.function` is being traced, as when
    it builds a layer."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.init_scope()
