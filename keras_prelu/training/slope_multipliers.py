"""How fast slopes learn beside the weights, by optimizer and network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.optimizer_copies import resolved_optimizer
from keras_prelu.layers import is_free_slope, is_slope

__all__ = [
    "EQUAL",
    "FAST",
    "FAST_WITH_NORMALIZATION",
    "SLOW",
    "fast_multiplier",
    "has_batch_normalization",
    "multiplier_of_model",
    "multiplier_of_variables",
    "safe_multiplier",
    "tried_multipliers",
]

EQUAL = 1.0
"""Slopes learn as fast as the weights."""
FAST = 10.0
FAST_WITH_NORMALIZATION = 3.0
SLOW = 0.1

_HIGHER = {FAST: 30.0, FAST_WITH_NORMALIZATION: FAST}

_ADAM_LIKE = (
    keras.optimizers.Adam,  # AdamW is a subclass.
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
)


def fast_multiplier(optimizer: Any, *, normalized: bool) -> float:
    """Return the ratio of the learning rate of free slopes that start at 0 to that of the weights.

    - 10 under Adam, AdamW, Adamax and Nadam, whose steps have the size of the learning rate
      whatever that of the gradients. Over twenty settings in which a network went on learning on
      new data, this left 0.73 of the error of ReLU, and the weights' own rate 0.88.
    - 3 under these in a network with BatchNormalization. There, 10 was worse than ReLU in a
      transfer from ImageNet, and 3 was not.
    - 0.1 under SGD, where the gradient of a slope, a sum over units and samples, is large: with
      momentum, 1 diverged at a high learning rate, and 10 at an ordinary one.
    - 1 under other optimizers, for which nothing was measured.

    Args:
        optimizer: Keras optimizer or its name.
        normalized: Bool. Whether the network has a BatchNormalization.

    References:
        docs/explanation/results.md.
    """
    innermost = _innermost(resolved_optimizer(optimizer))
    if isinstance(innermost, _ADAM_LIKE):
        return FAST_WITH_NORMALIZATION if normalized else FAST
    return safe_multiplier(innermost)


def tried_multipliers(optimizer: Any, *, normalized: bool) -> tuple[float, ...]:
    """Return the ratios that are worth a trial: that of `fast_multiplier`, and a higher one.

    A ratio of 30, or 10 with BatchNormalization, was much better on some streams of tasks and worse
    on others. Under SGD a training may diverge long after a trial would show it, so nothing is
    tried there.

    Args:
        optimizer: Keras optimizer or its name.
        normalized: Bool. Whether the network has a BatchNormalization.
    """
    usual = fast_multiplier(optimizer, normalized=normalized)
    return (usual, _HIGHER[usual]) if usual in _HIGHER else (usual,)


def safe_multiplier(optimizer: Any) -> float:
    """Return a ratio of the learning rates at which slopes are not what makes a training diverge.

    Args:
        optimizer: Keras optimizer or its name.
    """
    innermost = _innermost(resolved_optimizer(optimizer))
    return SLOW if isinstance(innermost, keras.optimizers.SGD) else EQUAL


def multiplier_of_model(model: keras.Model, optimizer: Any) -> float:
    """Return the ratio of the learning rate of a converted model's slopes to that of its weights.

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


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer inside all wrappers, such as `LossScaleOptimizer`."""
    inner = getattr(optimizer, "inner_optimizer", None)
    return optimizer if inner is None else _innermost(inner)
