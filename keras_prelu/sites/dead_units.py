"""What counts as an active, a dead and a nearly dead unit; the only definition.

A unit is active on a sample if its pre-activation is above 0 at any position. It is dead if it is
active on no sample, or on at most a given share of the samples.
"""

from __future__ import annotations

import keras
import numpy as np

from keras_prelu.sites.rectifier_calls import RectifierCall
from keras_prelu.typing import Tensor

__all__ = ["NEARLY_DEAD", "active_units", "active_within", "channel_and_positions"]

NEARLY_DEAD = 0.01
"""The share of the samples on which a nearly dead unit is active at most."""


def active_units(call: RectifierCall) -> Tensor:
    """Return for each sample and unit whether the unit is active at any position, in one call."""
    values = call.pre_activations
    _, positions = channel_and_positions(call)
    return (keras.ops.max(values, axis=positions) if positions else values) > 0


def active_within(active: np.ndarray, samples: int, threshold: float) -> np.ndarray:
    """Return which units are active on at most a share of the samples.

    Args:
        active: Array of integers. For each unit, the number of samples on which it is active.
        samples: Integer. Number of samples.
        threshold: Float in [0, 1). 0 for units that are active on no sample.
    """
    return active <= threshold * samples


def channel_and_positions(call: RectifierCall) -> tuple[int, tuple[int, ...]]:
    """Return the axis of the units of a call, and the axes besides it and the samples."""
    rank = len(call.pre_activations.shape)
    channel = 1 if call.located.data_format == "channels_first" else rank - 1
    return channel, tuple(axis for axis in range(rank) if axis not in (0, channel))
