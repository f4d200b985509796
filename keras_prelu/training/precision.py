"""Training in mixed precision."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import producer, sublayers
from keras_prelu.errors import InvalidArgumentError

__all__ = ["PRECISIONS", "check_precision", "compute_in"]

PRECISIONS = ("bfloat16", "float16")
_FULL = "float32"


def check_precision(precision: Any) -> None:
    """Check the argument `mixed_precision`.

    Raises:
        InvalidArgumentError: A ValueError; it is not one of `PRECISIONS`.
    """
    if precision is not None and precision not in PRECISIONS:
        raise InvalidArgumentError(
            f"`mixed_precision` must be {' or '.join(map(repr, PRECISIONS))}. Received:"
            f" mixed_precision={precision!r}"
        )


def compute_in(model: keras.Model, precision: str | None) -> None:
    """Make the layers of a model compute in half precision, with weights in float32.

    Layers that compute the outputs of a model with a graph stay in float32, as Keras advises, with
    the layers inside them, and so do layers with a policy of their own. Which layers compute the
    outputs of a subclassed model is not known: they are in half precision.

    Args:
        model: Keras model that has computed nothing yet. It is changed.
        precision: One of `PRECISIONS`; None leaves the model as it is.
    """
    if precision is None:
        return
    policy = keras.DTypePolicy(f"mixed_{precision}")
    last = {
        id(layer)
        for operation in _output_operations(model)
        for layer in (operation, *sublayers(operation))
    }
    for layer in [model, *sublayers(model)]:
        is_plain = getattr(layer.dtype_policy, "name", "") == _FULL
        if is_plain and id(layer) not in last and not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = policy


def _output_operations(model: keras.Model) -> list[Any]:
    """Return the operations that compute a model's outputs, also inside of nested models."""
    operations: list[Any] = []
    for tensor in keras.tree.flatten(getattr(model, "outputs", None) or []):
        operation = producer(tensor)
        operations += _output_operations(operation) or [operation]
    return operations
