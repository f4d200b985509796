"""The search for the scales that make channels alike in size, before any weight is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_prelu import theory
from keras_prelu.scaling.channel_groups import ChannelGroup
from keras_prelu.scaling.channel_sizes import ChannelSizes
from keras_prelu.typing import Array

__all__ = ["GroupScales", "find_scales"]

_LARGEST_SCALE = 1e4
"""The largest factor of a channel, and the inverse of the smallest one, over all passes."""
_LARGEST_COMMON_SCALE = 100.0
"""The same for the factor that brings all channels near to those that are left alone."""
_NEGLIGIBLE = 1e-3
"""The passes end as soon as |log s| is smaller than this for every channel."""
_ROUNDING = 1e-5
"""A relative growth of a spread that is no more than float32's rounding."""
_SIMILAR = 2.0
"""A spread that is larger by this factor is about as good."""


@dataclass(frozen=True)
class GroupScales:
    """The outcome of the search for one group.

    Attributes:
        group: `ChannelGroup`.
        scales: Array of floats, one for each channel; None if the group is left as it is.
        spread_before: Float. The spread of the sizes of its channels.
        spread_after: Float. The spread with the scales of all groups.
    """

    group: ChannelGroup
    scales: Array | None
    spread_before: float
    spread_after: float


def find_scales(groups: Sequence[ChannelGroup], passes: int) -> list[GroupScales]:
    """Return the scales of groups, which make their channels alike in size.

    Args:
        groups: Sequence of `ChannelGroup` that can be scaled.
        passes: Integer. The largest number of passes over all groups.
    """
    return [found for linked in _linked_groups(groups) for found in _find_linked(linked, passes)]


def _linked_groups(groups: Sequence[ChannelGroup]) -> list[list[ChannelGroup]]:
    """Return the groups in lists, so that groups that have a layer in common are in one list.

    The scales of a group change the spread of the groups in its list, and of no other.
    """
    parents: dict[int, int] = {}

    def root(layer: int) -> int:
        path = []
        while parents.setdefault(layer, layer) != layer:
            path.append(layer)
            layer = parents[layer]
        parents.update(dict.fromkeys(path, layer))  # The next search takes one step.
        return layer

    for group in groups:
        first, *others = map(id, group.layers)
        for other in others:
            parents[root(other)] = root(first)
    lists: dict[int, list[ChannelGroup]] = {}
    for group in groups:
        lists.setdefault(root(id(group.layers[0])), []).append(group)
    return list(lists.values())


def _find_linked(groups: Sequence[ChannelGroup], passes: int) -> list[GroupScales]:
    """Return the scales of groups that have layers in common.

    The largest spread of all never grows. The spread of a single group may, where it takes over
    from a layer with a much larger one, as a depthwise convolution does; if leaving such groups out
    is about as good for the largest spread, they are left out.
    """
    sizes = ChannelSizes(groups)
    before = [sizes.spread(group) for group in groups]
    chosen, result = _within(groups, [max(before)] * len(groups), passes, sizes)
    if _grown(groups, before, result):
        fewer, alternative = _within(groups, before, passes, sizes)
        if alternative.largest_spread(groups) <= _SIMILAR * result.largest_spread(groups):
            chosen, result = fewer, alternative
    scaled = set(map(id, chosen))
    return [
        GroupScales(
            group=group,
            scales=result.scales(group) if id(group) in scaled else None,
            spread_before=spread,
            spread_after=result.spread(group),
        )
        for group, spread in zip(groups, before, strict=True)
    ]


def _within(
    groups: Sequence[ChannelGroup],
    limits: Sequence[float],
    passes: int,
    sizes: ChannelSizes,
) -> tuple[Sequence[ChannelGroup], ChannelSizes]:
    """Equalize as many groups as the limits of the spreads allow.

    Returns:
        The equalized groups, and the sizes afterwards.
    """
    active = groups
    while active:
        result = sizes.copy()
        _run_passes(active, passes, result)
        grown = _grown(groups, limits, result)
        if not grown:
            return active, result
        active = _without(active, grown)
    return [], sizes


def _grown(
    groups: Sequence[ChannelGroup], limits: Sequence[float], sizes: ChannelSizes
) -> list[ChannelGroup]:
    """Return the groups whose spread is above its limit."""
    return [
        group
        for group, limit in zip(groups, limits, strict=True)
        if not sizes.spread(group) <= limit * (1.0 + _ROUNDING)
    ]


def _without(groups: Sequence[ChannelGroup], grown: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Return the groups without those whose spread has grown.

    If these are out already, their neighbours are left out.
    """
    dropped = set(map(id, grown))
    remaining = [group for group in groups if id(group) not in dropped]
    if len(remaining) < len(groups):
        return remaining
    touched = {id(layer) for group in grown for layer in group.layers}
    return [group for group in groups if touched.isdisjoint(map(id, group.layers))]


def _run_passes(groups: Sequence[ChannelGroup], passes: int, sizes: ChannelSizes) -> None:
    for _ in range(passes):
        largest = 0.0
        for group in groups:
            scales = group.without_rounding(_scales(group, sizes))
            sizes.scale(group, scales)
            largest = max(largest, float(np.abs(np.log(scales)).max()))
        if largest < _NEGLIGIBLE:
            break


def _scales(group: ChannelGroup, sizes: ChannelSizes) -> Array:
    """Return the scales of a group in one pass."""
    written, read, total = sizes.written(group), sizes.read(group), sizes.scales(group)
    alive = (written > 0) & (read > 0)
    scales = np.ones_like(written)
    if not alive.any():
        return scales
    wanted = theory.equalizing_scales(written[alive], read[alive])
    wanted = wanted * _common_scale(written[alive] * wanted, written[~alive])
    wanted = wanted / _common_scale(read[alive] / wanted, read[~alive])
    reached = np.clip(total[alive] * wanted, 1 / _LARGEST_SCALE, _LARGEST_SCALE)
    scales[alive] = reached / total[alive]
    return scales


def _common_scale(sizes: Array, others: Array) -> float:
    """Return the factor that centres the sizes of channels on those of others, as far as they are.

    Channels that are left as they are would otherwise stand out in the same weights.
    """
    others = others[others > 0]
    if not others.size:
        return 1.0
    factor = _centre(others) / _centre(sizes)
    return float(np.clip(factor, 1 / _LARGEST_COMMON_SCALE, _LARGEST_COMMON_SCALE))


def _centre(sizes: Array) -> float:
    return float(np.sqrt(sizes.min()) * np.sqrt(sizes.max()))
