"""Where the PReLU layers of a converted layer compute what the user's code did."""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.custom_layers.called_rectifiers import called_rectifier
from keras_prelu.custom_layers.converted_layer import ConvertedLayer
from keras_prelu.custom_layers.held_rectifiers import find_held_rectifiers
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["addresses_as_written"]


def addresses_as_written(layer: ConvertedLayer, prune: float) -> frozenset[str]:
    """Return the addresses at which a converted layer computes what its rectifiers computed.

    Args:
        layer: `ConvertedLayer`.
        prune: Float. Slopes of at most this size count as 0 if the PReLU layer replaces a ReLU.
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
