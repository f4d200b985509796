"""Copies of models with fresh weights."""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.errors import ConversionError
from keras_prelu.graph.initial_values import initialized_weights
from keras_prelu.layers import PReLU

__all__ = ["fresh_copy"]


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
    copy, rng = rewrite(model), np.random.default_rng(seed)
    drawn = set()
    for layer in (copy, *sublayers(copy)):
        if isinstance(layer, PReLU):
            drawn |= {id(variable) for variable in layer.variables}
            continue
        for weight in initialized_weights(layer):
            weight.variable.assign(weight.draw(int(rng.integers(2**31))))
            drawn.add(id(weight.variable))
    for variable in copy.trainable_variables:
        if id(variable) not in drawn:
            raise ConversionError(
                f"'{variable.path}' of model '{model.name}' can't be drawn anew: its layer has no"
                " initializer for it that is known. Store it as an attribute, as in"
                " `kernel_initializer` for `kernel`."
            )
    return copy
