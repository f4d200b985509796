"""Converted layers as the user wrote them: where they compute the same, and rebuilt so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.custom_layers.called_rectifiers import called_rectifier
from keras_prelu.custom_layers.converted_layer import ConvertedLayer, attach, detach
from keras_prelu.custom_layers.held_rectifiers import find_held_rectifiers
from keras_prelu.errors import ConversionError
from keras_prelu.graph.rebuilding import duplicate_instead, rebuild_from_config
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["addresses_as_written", "is_as_written", "rebuild_with"]


def is_as_written(layer: ConvertedLayer, prune: float) -> bool:
    """Return whether the PReLU layers of a converted layer compute what its rectifiers computed.

    Args:
        layer: `ConvertedLayer`.
        prune: Float. Slopes of at most this size count as 0 if the PReLU layer replaces a ReLU.
    """
    return len(addresses_as_written(layer, prune)) == len(layer._stand_ins)


def addresses_as_written(layer: ConvertedLayer, prune: float) -> frozenset[str]:
    """Return the addresses at which a converted layer computes what its rectifiers computed.

    Args:
        layer: `ConvertedLayer`.
        prune: Float. As in `is_as_written`.
    """
    with layer.as_written():
        rectifiers = {held.address: held.rectifier for held in find_held_rectifiers(layer)}
    return frozenset(
        stand_in.address
        for stand_in in layer._stand_ins
        if all(
            _computes(
                prelu, rectifiers.get(stand_in.address) or called_rectifier(stand_in.address), prune
            )
            for prelu in stand_in.layers
        )
    )


def _computes(prelu: PReLU, rectifier: Rectifier | None, prune: float) -> bool:
    if (
        rectifier is None
        or rectifier.smooth
        or rectifier.negative_slope is None
        or rectifier.max_value != prelu.max_value
    ):
        return False
    slopes = keras.ops.convert_to_numpy(slopes_in_effect(prelu))
    tolerance = prune if rectifier.negative_slope == 0 else 0.0
    return bool(np.abs(slopes - np.float32(rectifier.negative_slope)).max() <= tolerance)


def rebuild_with(layer: ConvertedLayer, prelus: Mapping[str, Sequence[PReLU]]) -> Any:
    """Return a new layer like a converted one, with other PReLU layers in place.

    The layer is rebuilt from the configuration that the user's `get_config` returns, or is a
    duplicate.

    Args:
        layer: `ConvertedLayer`. It is left unchanged.
        prelus: Mapping from addresses to built `PReLU` layers, as in `attach`. At addresses that
            are left out, the code applies its own rectifiers again; without any address, the new
            layer is of the user's class.
    """
    try:
        with layer.as_written():
            written = rebuild_from_config(layer)
    except ConversionError as error:
        written = detach(duplicate_instead(layer, error))
    return attach(written, prelus) if prelus else written
