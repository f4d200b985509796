"""Measurement of what one slope, and no cap, would change of a PReLU layer; and such layers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.calibration.shared_slopes import mean_slope
from keras_prelu.conversion.activation_exchange import exchangeable_operations
from keras_prelu.conversion.profiles import PROFILES
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.graph.arrays import to_float64
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.sites.activity import ActivityProbe, SiteActivity
from keras_prelu.sites.clipping import clipped_shares
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.typing import Array

__all__ = ["Measured", "make_built_simpler", "make_simpler", "measure_layers"]


@dataclass(frozen=True)
class Measured:
    """A PReLU layer, measured on samples.

    Attributes:
        path: String. The layer's path.
        layer: `PReLU`.
        slopes: Array. Its slopes.
        is_fixed: Boolean. Whether Python code that was written with it calls it, so that no other
            layer can take its place.
        slope: Float or None. The slope that is nearest to its slopes; None if it was not seen.
        change: Float or None. What that slope changes of the outputs: the mean square over theirs.
        clipped: Float or None. The share of its outputs that its cap cuts off.
    """

    path: str
    layer: PReLU
    slopes: Array
    is_fixed: bool
    slope: float | None = None
    change: float | None = None
    clipped: float | None = None

    @property
    def can_be_merged(self) -> bool:
        """Whether the layer has several slopes that one can replace."""
        return not self.is_fixed and self.slope is not None and self.slopes.size > 1

    @property
    def can_be_uncapped(self) -> bool:
        """Whether the layer has a cap that cuts off next to nothing."""
        largest = PROFILES["deployment"].largest_clipped_share
        return not self.is_fixed and self.clipped is not None and self.clipped <= largest


def measure_layers(model: keras.Model, samples: CalibrationSamples) -> list[Measured]:
    """Measure the PReLU layers of a model, in the order of its layers."""
    activities = {
        id(activity.layer): activity
        for activity in ActivityProbe(model, samples.structure)(samples.arrays)
    }
    shares = clipped_shares(model, samples.structure, samples.arrays)
    exchangeable = {id(layer) for each in exchangeable_operations(model) for layer in prelus(each)}
    return [
        _measured(path, layer, activities.get(id(layer)), shares, exchangeable)
        for path, layer in prelu_layers(model)
    ]


def make_simpler(measured: Measured, *, merged: bool, uncapped: bool) -> PReLU:
    """Return a layer like one that was measured, not built, with one slope or without a cap."""
    config = measured.layer.get_config()
    initial: Any = measured.slopes
    if merged:
        config["shared_axes"], initial = "channel_shared", measured.slope
    if uncapped:
        config["max_value"] = None
    config["alpha_initializer"] = keras.initializers.serialize(
        keras.initializers.Constant(initial if merged else np.asarray(initial, np.float32))
    )
    return PReLU.from_config(config)


def make_built_simpler(measured: Measured, *, merged: bool, uncapped: bool) -> PReLU:
    """Return a layer as `make_simpler` does, built, for Python code to apply."""
    new = make_simpler(measured, merged=merged, uncapped=uncapped)
    new.build(measured.layer.get_build_config()["input_shape"])
    new.trainable = measured.layer.trainable
    return new


def _measured(
    path: str,
    layer: PReLU,
    activity: SiteActivity | None,
    shares: dict[str, float],
    exchangeable: Collection[int],
) -> Measured:
    slopes = to_float64(slopes_in_effect(layer))
    if activity is None:
        return Measured(path=path, layer=layer, slopes=slopes, is_fixed=False)
    weights = _weights(layer, slopes, activity.negative)
    slope = mean_slope(slopes, weights)
    changed = float((weights * np.square(slopes - slope)).sum())
    outputs = float((weights * np.square(slopes)).sum() + activity.positive.sum())
    return Measured(
        path=path,
        layer=layer,
        slopes=slopes,
        is_fixed=activity.inside and id(layer) not in exchangeable,
        slope=slope,
        change=changed / outputs if outputs else 0.0,
        clipped=shares.get(activity.site.path),
    )


def _weights(layer: PReLU, slopes: Array, energies: Array) -> Array:
    """Return for each slope the squares of what it multiplies, summed over samples and positions.

    They are known by channel, and divided equally among slopes of one channel.
    """
    axis = 0 if layer.data_format == "channels_first" else slopes.ndim - 1
    if slopes.shape[axis] != len(energies):
        return np.full(slopes.shape, energies.sum() / slopes.size)
    shape = [-1 if index == axis else 1 for index in range(slopes.ndim)]
    return np.broadcast_to(energies.reshape(shape) * (len(energies) / slopes.size), slopes.shape)
