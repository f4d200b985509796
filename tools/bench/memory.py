"""Memory, counted where the backend tells (JAX) and taken from the operating system where it
doesn't (TensorFlow)."""

from __future__ import annotations

import resource
from collections.abc import Callable

import keras
import numpy as np


def jax_bytes(model: keras.Model, x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Bytes that the backward pass keeps, and temporary bytes of the compiled gradient (JAX alone).

    Residuals are counted without compiling: what `jax.vjp` of the loss with respect to the weights
    holds. Temporaries are what XLA allocates beside arguments and results for the compiled value
    and gradient.
    """
    import jax

    trainable = [variable.value for variable in model.trainable_variables]
    other = [variable.value for variable in model.non_trainable_variables]

    def loss(trainable):
        logits, _ = model.stateless_call(trainable, other, x, training=True)
        return keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        )

    compiled = jax.jit(jax.value_and_grad(loss)).lower(trainable).compile()
    return kept_by_jax(loss, trainable), compiled.memory_analysis().temp_size_in_bytes


def kept_by_jax(function: Callable, *arguments: object) -> int:
    """Bytes that the backward pass of `function(*arguments)` keeps, counted without running it."""
    import jax

    pullback = jax.eval_shape(lambda *tensors: jax.vjp(function, *tensors)[1], *arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))


def peak_of_this_process() -> float:
    """Megabytes (10^6 bytes) of memory at the most, since the process began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
