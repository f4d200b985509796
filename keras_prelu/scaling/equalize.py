"""Cross-layer equalization: moving the scale of a channel between layers (claim 6).

For every s > 0, φ(s·x) = s·φ(x). Multiplying a channel by s where it is written and by 1/s where it
is read therefore leaves the function unchanged, through PReLU, sums, poolings and paddings.
Per-tensor quantization needs channels of similar size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.plan import compile_plan
from keras_prelu.graph.saved_weights import SavedWeights, restored_on_failure
from keras_prelu.scaling.channel_groups import ChannelGroup, channel_groups
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["Equalization", "equalize"]


_LARGEST_SCALE = 1e4
"""The largest factor of a channel, and the inverse of the smallest one, over all passes."""
_LARGEST_COMMON_SCALE = 100.0
"""The same for the factor that brings all channels near to those that are left alone."""
_ROUNDING = 1e-5
"""A relative growth of a spread that is no more than float32's rounding."""
_NEGLIGIBLE = 1e-3
"""The passes end as soon as |log s| is smaller than this for every channel."""


@dataclass(frozen=True)
class Equalization:
    """The equalization of channels that are scaled together.

    Attributes:
        producers: Tuple of strings. Paths of the layers that write the channels.
        consumers: Tuple of strings. Paths of the layers that read the channels.
        channels: Integer. Number of channels; 0 if they can't be scaled.
        spread_before: Float. Ratio of the largest to the smallest size of a channel, where channels
            are written or where they are read, whichever is larger. The size of a channel is its
            largest weight; channels of size 0 are left out. NaN if the channels can't be scaled.
        spread_after: Float. The spread afterwards. It grows only where the largest spread among the
            groups that have layers in common shrinks.
        action: String. "equalized", or "kept" with the reason.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    spread_before: float
    spread_after: float
    action: str


@on_large_graphs
def equalize(model: keras.Model, *, passes: int = 20) -> list[Equalization]:
    """Equalize the sizes of channels between layers, in place, with the function unchanged.

    Channel c of the layer that writes it (kernel and bias, or γ and β of a BatchNormalization) is
    multiplied by s_c = √(‖consumer_c‖/‖producer_c‖), and the input channel of the layer that reads
    it by 1/s_c. Tensors that are added share their scales, so a residual stream is equalized as a
    whole. Channels that are written or read by weights of 0 alone are left as they are.

    Inference is unchanged up to rounding; in training, a BatchNormalization undoes a scale before
    it. Penalties on weights (`kernel_regularizer` and the like) do depend on the scales, and so
    does the loss that `evaluate` reports if the model has any.

    Args:
        model: `keras.Model`. Sequential or Functional, converted or not. It is changed.
        passes: Integer. The largest number of passes over all layers. Defaults to 20; few are
            needed.

    Returns:
        A list of `Equalization`, one for each group of channels. Groups for which the symmetry does
        not hold (a capped activation, a layer that is called several times or shares its weights, a
        layer of the user's own, an input or output of the model) are kept, with the reason; so are
        layers whose constraint would be violated (`NonNeg` is not), layers that compute in float16,
        whose range is small, and groups whose spread would grow.

    Raises:
        ConversionError: The model has no graph.
        InvalidArgumentError: A ValueError; `passes` is below 1.

    Example:

    >>> records = keras_prelu.equalize(converted)

    References:
        Nagel et al. 2019, https://arxiv.org/abs/1906.04721. Claim 6.
    """
    if passes < 1:
        raise InvalidArgumentError(f"`passes` must be at least 1. Received: passes={passes}")
    groups = list(channel_groups(compile_plan(model)))
    spreads = [_spread(group) for group in groups]
    scalable = [group for group in groups if not group.reason]
    equalized: set[int] = set()
    with restored_on_failure(variable for group in scalable for variable in group.variables):
        for linked in _linked_groups(scalable):
            equalized.update(map(id, _equalize_linked(linked, passes)))
    return [
        Equalization(
            producers=tuple(step.path for step in group.producers),
            consumers=tuple(step.path for step in group.consumers),
            channels=group.channels,
            spread_before=spread,
            spread_after=_spread(group),
            action=_action(group, id(group) in equalized),
        )
        for group, spread in zip(groups, spreads, strict=True)
    ]


def _action(group: ChannelGroup, is_equalized: bool) -> str:
    if is_equalized:
        return "equalized"
    return f"kept: {group.reason or 'a spread would grow'}"


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
        first, *others = group.layers
        for other in others:
            parents[root(other)] = root(first)
    lists: dict[int, list[ChannelGroup]] = {}
    for group in groups:
        lists.setdefault(root(next(iter(group.layers))), []).append(group)
    return list(lists.values())


def _equalize_linked(groups: Sequence[ChannelGroup], passes: int) -> Sequence[ChannelGroup]:
    """Equalize groups that have layers in common, and return those that are equalized.

    The spread of one may grow where the largest of all shrinks. Groups that would end with a spread
    above the largest of all before are left out.
    """
    weights = SavedWeights(variable for group in groups for variable in group.variables)
    limit = max(map(_spread, groups)) * (1.0 + _ROUNDING)
    active = groups
    while active:
        _run_passes(active, passes)
        worse = [group for group in groups if not _spread(group) <= limit]
        if not worse:
            break
        weights.restore()
        active = _without(active, worse)
    return active


def _without(groups: Sequence[ChannelGroup], worse: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """Return the groups without those that became worse.

    If these are out already, their neighbours are left out.
    """
    dropped = {id(group) for group in worse}
    remaining = [group for group in groups if id(group) not in dropped]
    if len(remaining) < len(groups):
        return remaining
    touched = set[int]().union(*(group.layers for group in worse))
    return [group for group in groups if not group.layers & touched]


def _run_passes(groups: Sequence[ChannelGroup], passes: int) -> None:
    totals = [np.ones(group.channels) for group in groups]
    for _ in range(passes):
        largest = 0.0
        for group, total in zip(groups, totals, strict=True):
            scales = group.without_rounding(_scales(group, total))
            group.scale(scales)
            total *= scales
            largest = max(largest, float(np.abs(np.log(scales)).max()))
        if largest < _NEGLIGIBLE:
            break


def _scales(group: ChannelGroup, total: Array) -> Array:
    """Return the scales of a group in one pass.

    Args:
        group: `ChannelGroup`.
        total: Array of floats. The scales of the channels in all passes before.
    """
    producer_sizes, consumer_sizes = group.producer_sizes(), group.consumer_sizes()
    alive = (producer_sizes > 0) & (consumer_sizes > 0)
    scales = np.ones_like(producer_sizes)
    if not alive.any():
        return scales
    wanted = theory.equalizing_scales(producer_sizes[alive], consumer_sizes[alive])
    wanted = wanted * _common_scale(producer_sizes[alive] * wanted, producer_sizes[~alive])
    wanted = wanted / _common_scale(consumer_sizes[alive] / wanted, consumer_sizes[~alive])
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


def _spread(group: ChannelGroup) -> float:
    if group.reason:
        return float("nan")
    return max(_ratio(group.producer_sizes()), _ratio(group.consumer_sizes()))


def _ratio(sizes: Array) -> float:
    alive = sizes[sizes > 0]
    return float(alive.max() / alive.min()) if alive.size else 1.0
