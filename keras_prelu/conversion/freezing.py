"""Slopes that learn in a part of a model that does not."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.custom_layers.converted_layer import is_converted, prelus

__all__ = ["train_slopes"]


def train_slopes(model: keras.Model, slopes: set[int]) -> list[str]:
    """Make PReLU layers trainable, in place, and nothing else.

    A frozen model hides the variables of all of its layers. So those around the slopes become
    trainable, and each of their other layers is frozen in their place.

    Args:
        model: A converted model.
        slopes: Ids of the PReLU layers.

    Returns:
        Names of the layers with Python code of their own whose slopes stay frozen with them: their
        configuration has one flag for all that is inside, so that a file would lose which part is
        frozen.
    """
    stay: list[str] = []
    _train(model, slopes, frozen=False, stay=stay)
    return stay


def _train(layer: Any, slopes: set[int], *, frozen: bool, stay: list[str]) -> None:
    frozen = frozen or not layer.trainable
    if id(layer) in slopes:
        layer.trainable = True
    elif not frozen:
        for inner in _layers(layer):
            _train(inner, slopes, frozen=False, stay=stay)
    elif is_converted(layer):
        layer.trainable = False
        stay += [layer.name] if any(id(prelu) in slopes for prelu in prelus(layer)) else []
    else:
        inside = _holds(layer, slopes)
        layer.trainable = inside
        for inner in _layers(layer) if inside else []:
            _train(inner, slopes, frozen=True, stay=stay)


def _holds(layer: Any, slopes: set[int]) -> bool:
    return any(id(inner) in slopes or _holds(inner, slopes) for inner in _layers(layer))


def _layers(layer: Any) -> list[Any]:
    return list(layer.layers) if isinstance(layer, keras.Model) and not is_converted(layer) else []
