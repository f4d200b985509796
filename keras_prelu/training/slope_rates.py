"""How fast slopes learn beside the weights, by optimizer and network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.layers import is_free_slope, is_slope

__all__ = [
    "EQUAL",
    "FAST",
    "FAST_WITH_NORMALIZATION",
    "fast_multiplier",
    "has_batch_normalization",
    "multiplier_of_model",
    "multiplier_of_variables",
]

EQUAL = 1.0
"""Slopes learn as fast as the weights."""
FAST = 10.0
FAST_WITH_NORMALIZATION = 3.0

_ADAM_LIKE = (
    keras.optimizers.Adam,  # AdamW is a subclass.
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
)


def fast_multiplier(optimizer: Any, *, normalized: bool) -> float:
    """Return how many times as fast as the weights free slopes learn that start at 0.

    - 10 times under Adam, AdamW, Adamax and Nadam, whose steps have the size of the learning rate
      whatever that of the gradients. Over twenty settings in which a network went on learning on
      new data, this left 0.73 of the error of ReLU, and the weights' own rate 0.88.
    - 3 times under these in a network with BatchNormalization. There, ten times the rate was worse
      than ReLU in a transfer from ImageNet, and three times was not.
    - As fast as the weights under all others. Under SGD with momentum ten times the rate diverges.

    Args:
        optimizer: Keras optimizer or its name.
        normalized: Bool. Whether the network has a BatchNormalization.

    References:
        docs/explanation/results.md.
    """
    if not _is_adam_like(keras.optimizers.get(optimizer)):
        return EQUAL
    return FAST_WITH_NORMALIZATION if normalized else FAST


def multiplier_of_model(model: keras.Model, optimizer: Any) -> float:
    """Return how many times as fast as the weights the slopes of a converted model learn.

    That is `fast_multiplier` if all slopes that are trained are free, as under "identity". Under
    other maps a high rate was harmful in some networks, so their slopes are as fast as the weights.

    Args:
        model: Keras model.
        optimizer: Keras optimizer or its name.
    """
    if not _all_free(model.trainable_variables):
        return EQUAL
    return fast_multiplier(optimizer, normalized=has_batch_normalization(model))


def multiplier_of_variables(variables: Iterable[Any], optimizer: Any) -> float:
    """Return what `multiplier_of_model` does, from the variables that an optimizer trains.

    An optimizer does not see the layers, so a normalization is recognized by the names that Keras
    gives to its scale and its offset. One that is frozen is not seen.

    Args:
        variables: Iterable of `keras.Variable`. The trainable variables of a model.
        optimizer: Keras optimizer.
    """
    variables = list(variables)
    if not _all_free(variables):
        return EQUAL
    names = {variable.name for variable in variables if not is_slope(variable)}
    return fast_multiplier(optimizer, normalized=bool(names & {"gamma", "beta"}))


def has_batch_normalization(model: keras.Model) -> bool:
    """Return whether a model has a BatchNormalization, at any depth."""
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in sublayers(model))


def _all_free(variables: Iterable[Any]) -> bool:
    """Return whether there are slopes among variables, and all of them are free."""
    slopes = [variable for variable in variables if is_slope(variable)]
    return bool(slopes) and all(map(is_free_slope, slopes))


def _is_adam_like(optimizer: Any) -> bool:
    inner = getattr(optimizer, "inner_optimizer", None)
    return isinstance(optimizer, _ADAM_LIKE) if inner is None else _is_adam_like(inner)
