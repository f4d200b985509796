"""Copies of models with fresh weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.errors import ConversionError
from keras_prelu.graph.initial_values import InitializedWeight, seeded_weights
from keras_prelu.layers import PReLU, is_slope

__all__ = ["fresh_copy", "redraw"]


def fresh_copy(model: keras.Model, seed: int = 0) -> keras.Model:
    """Return a copy of a model before its training.

    All weights that have an initializer are drawn anew, moving statistics too. The slopes of PReLU
    layers are kept, and so is what no training changes, such as the mean and variance of a
    Normalization layer.

    Args:
        model: Keras model. A built model, converted or not. It is not changed.
        seed: Integer. Seed of the weights. Each weight gets a seed of its own, also if its
            initializer has one. Defaults to 0.

    Returns:
        A new model, with the compile settings of the given one.

    Raises:
        ConversionError: The model can't be copied (as in `convert`), or a trained weight has no
            initializer that is known.

    Example:

    >>> fresh = fresh_copy(model, seed=1)
    """
    copy = rewrite(model)
    left = redraw(copy, (copy, *sublayers(copy)), seed)
    if left is not None:
        raise ConversionError(
            f"'{left.path}' of model '{model.name}' can't be drawn anew: its layer has no"
            " initializer for it that is known. Store it as an attribute, as in"
            " `kernel_initializer` for `kernel`."
        )
    return copy


def redraw(
    model: keras.Model,
    layers: Iterable[Any],
    seed: int,
    draw: Callable[[InitializedWeight, int], Any] = InitializedWeight.draw,
) -> keras.Variable | None:
    """Assign new values to the weights of a model, in place, but for the slopes of PReLU layers.

    Args:
        model: Keras model.
        layers: Iterable of layers. Those of the model whose weights are drawn.
        seed: Integer. Each weight gets a seed of its own, which depends on it.
        draw: Function of an `InitializedWeight` and its seed that returns its values. Defaults to
            what the weight's initializer draws.

    Returns:
        The first trained variable that was not drawn, slopes apart, or None.
    """
    others = [layer for layer in layers if not isinstance(layer, PReLU)]
    drawn = set()
    for weight, own_seed in seeded_weights(others, seed):
        weight.variable.assign(draw(weight, own_seed))
        drawn.add(id(weight.variable))
    return next(
        (
            variable
            for variable in model.trainable_variables
            if id(variable) not in drawn and not is_slope(variable)
        ),
        None,
    )
