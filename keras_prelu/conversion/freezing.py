"""Trainable slopes in a frozen part of a model."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import keras

from keras_prelu.custom_layers.converted_layer import is_converted, prelus

__all__ = ["train_slopes"]


def train_slopes(model: keras.Model, layer_ids: Set[int]) -> list[str]:
    """Make PReLU layers trainable, in place, and nothing else.

    A frozen model hides the variables of all of its layers. Therefore the models around the PReLU
    layers become trainable, and each of their other layers is frozen instead.

    Args:
        model: `keras.Model`. A converted model.
        layer_ids: Set of integers. Ids of the PReLU layers.

    Returns:
        List of the names of the layers with Python code of their own whose slopes stay frozen. The
        configuration of such a layer has one flag for the whole layer, so a file could not store
        which part is frozen.
    """
    still_frozen: list[str] = []
    _train(model, layer_ids, is_frozen=False, still_frozen=still_frozen)
    return still_frozen


def _train(layer: Any, layer_ids: Set[int], *, is_frozen: bool, still_frozen: list[str]) -> None:
    """Make the PReLU layers in a layer trainable.

    Args:
        layer: Layer or model.
        layer_ids: Set of integers. Ids of the PReLU layers.
        is_frozen: Boolean. Whether a model around the layer was frozen.
        still_frozen: List of strings. The names that `train_slopes` returns are appended to it.
    """
    is_frozen = is_frozen or not layer.trainable
    if id(layer) in layer_ids:
        layer.trainable = True
    elif is_converted(layer) and not is_frozen:
        if any(id(prelu) in layer_ids and not prelu.trainable for prelu in prelus(layer)):
            still_frozen.append(layer.name)
    elif not is_frozen:
        for inner in _inner_layers(layer):
            _train(inner, layer_ids, is_frozen=False, still_frozen=still_frozen)
    elif is_converted(layer):
        layer.trainable = False
        if any(id(prelu) in layer_ids for prelu in prelus(layer)):
            still_frozen.append(layer.name)
    else:
        contains_any = _contains(layer, layer_ids)
        layer.trainable = contains_any
        for inner in _inner_layers(layer) if contains_any else []:
            _train(inner, layer_ids, is_frozen=True, still_frozen=still_frozen)


def _contains(layer: Any, layer_ids: Set[int]) -> bool:
    return any(
        id(inner) in layer_ids or _contains(inner, layer_ids) for inner in _inner_layers(layer)
    )


def _inner_layers(layer: Any) -> list[Any]:
    is_model = isinstance(layer, keras.Model) and not is_converted(layer)
    return list(layer.layers) if is_model else []
