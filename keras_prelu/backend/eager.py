"""Computing with numbers now, even while the active backend traces a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import keras

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.backend.variables import outside_of_graphs

__all__ = ["computing_eagerly"]


@contextmanager
def computing_eagerly() -> Iterator[None]:
    """Compute eagerly on the CPU, without gradients, as long as the context lasts.

    A `tf.function`, a transformation of JAX, or Keras's inference of shapes may be under way:
    tensors that are created within the context belong to none of them, and have values.
    """
    backend = keras.backend.backend()
    with ExitStack() as stack:
        stack.enter_context(outside_of_graphs())
        stack.enter_context(without_gradients())
        if backend == "jax":
            import jax

            stack.enter_context(jax.ensure_compile_time_eval())
        # On PyTorch, Keras infers shapes with tensors on the device "meta", which have no values.
        stack.enter_context(keras.device("cpu"))
        yield
