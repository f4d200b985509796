"""The sizes of the channels of layers under scales that are not yet applied to the weights.

A size is the largest absolute value of the weights of a channel. A scale multiplies all of them, so
of the weights that connect two channels the largest is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import inference_factor
from keras_prelu.graph.channel_scaling import is_batch_normalization, reads_channels
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.scaling.channel_groups import ChannelGroup
from keras_prelu.typing import Array

__all__ = ["ChannelSizes"]


class ChannelSizes:
    """The sizes of the channels of some groups, which can be scaled on trial.

    Args:
        groups: Sequence of `ChannelGroup` that can be scaled.
    """

    def __init__(self, groups: Sequence[ChannelGroup]) -> None:
        layers = {id(layer): layer for group in groups for layer in group.layers}
        self._layers = {key: _LayerSizes.of_layer(layer) for key, layer in layers.items()}
        self._scales = {id(group): np.ones(group.channels) for group in groups}

    def copy(self) -> ChannelSizes:
        """Return a copy that is scaled independently."""
        copy = ChannelSizes([])
        copy._layers = {key: sizes.copy() for key, sizes in self._layers.items()}
        copy._scales = {key: scales.copy() for key, scales in self._scales.items()}
        return copy

    def scales(self, group: ChannelGroup) -> Array:
        """Return the product of all scales of the channels of a group."""
        return self._scales[id(group)]

    def scale(self, group: ChannelGroup, scales: Array) -> None:
        """Scale the channels of a group where they are written, and inversely where they are read.

        The weights of the layers are not changed.
        """
        for step in group.producers:
            self._layers[id(step.operation)].scale_written(scales)
        for step in group.consumers:
            self._layers[id(step.operation)].scale_read(1.0 / scales)
        self._scales[id(group)] = self._scales[id(group)] * scales

    def written(self, group: ChannelGroup) -> Array:
        """Return the largest weight that writes each channel of a group.

        A BatchNormalization is folded into the layer before it.
        """
        sizes: Array = np.max([self._written(group, step.operation) for step in group.producers], 0)
        return sizes

    def read(self, group: ChannelGroup) -> Array:
        """Return the largest weight that each channel of a group is multiplied by where it is read.

        The channels are those of `written`.
        """
        sizes: Array = np.max(
            [self._layers[id(step.operation)].read() for step in group.consumers], 0
        )
        return sizes

    def spread(self, group: ChannelGroup) -> float:
        """Return the ratio of the largest to the smallest size, sizes of 0 left out.

        The larger ratio counts, of where the channels are written and where they are read.
        """
        return max(_ratio(self.written(group)), _ratio(self.read(group)))

    def largest_spread(self, groups: Sequence[ChannelGroup]) -> float:
        """Return the largest spread of some groups."""
        return max(map(self.spread, groups))

    def _written(self, group: ChannelGroup, layer: Any) -> Array:
        sizes = self._layers[id(layer)].written()
        feeder = group.feeder(layer)
        if feeder is None:
            return sizes
        fed = self._layers[id(feeder)].written()
        return sizes * fed if fed.size == sizes.size else sizes


class _LayerSizes:
    """The largest weights of one layer between each channel that it reads and each that it writes.

    Args:
        table: Array (channels read, channels written for each of them).
        mixes: Boolean. Whether each channel that is written depends on all channels that are read.
            Otherwise each entry of `table` is a channel of its own.
    """

    def __init__(self, table: Array, *, mixes: bool) -> None:
        self._table = table
        self._mixes = mixes

    @classmethod
    def of_layer(cls, layer: Any) -> _LayerSizes:
        if is_batch_normalization(layer):
            return cls(np.abs(inference_factor(layer))[:, None], mixes=False)
        view = linear_view(layer)
        assert view is not None
        matrix = np.abs(view.to_matrix(to_float64(view.kernel)))
        if not reads_channels(layer):
            return cls(matrix.max(axis=1).reshape(1, -1), mixes=True)
        mixes = len(matrix) == 1
        kernel = np.abs(to_float64(layer.kernel))
        return cls(kernel.reshape(-1, *kernel.shape[-2:]).max(axis=0), mixes=mixes)

    def copy(self) -> _LayerSizes:
        return _LayerSizes(self._table.copy(), mixes=self._mixes)

    def written(self) -> Array:
        sizes: Array = self._table.max(axis=0) if self._mixes else self._table.reshape(-1)
        return sizes

    def read(self) -> Array:
        sizes: Array = self._table.max(axis=1)
        return sizes

    def scale_written(self, scales: Array) -> None:
        self._table *= scales if self._mixes else scales.reshape(self._table.shape)

    def scale_read(self, scales: Array) -> None:
        self._table *= scales[:, None]


def _ratio(sizes: Array) -> float:
    alive = sizes[sizes > 0]
    return float(alive.max() / alive.min()) if alive.size else 1.0
