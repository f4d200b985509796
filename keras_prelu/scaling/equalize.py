"""Cross-layer equalization: the scale of a channel moved between the layers before and after it,
the function unchanged (claim 6).

For every s > 0, φ(s·x) = s·φ(x): a channel that is multiplied by s where it is made and by 1/s
where it is used changes nothing, through PReLU, sums, poolings and paddings. Per-tensor
quantization needs channels of similar size.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.plan import compile_plan
from keras_prelu.scaling.channel_groups import ChannelGroup, channel_groups
from keras_prelu.utils.large_graphs import on_large_graphs

__all__ = ["Equalization", "equalize"]

Array = np.ndarray

_LARGEST_SCALE = 1e4
_NEGLIGIBLE = 1e-3  # of log s: the passes end where no channel changes by more


@dataclass(frozen=True)
class Equalization:
    """What was done with channels that are made together and used together.

    Attributes:
        producers: Paths of the layers that make them.
        consumers: Paths of the layers that use them.
        channels: How many there are.
        spread_before: The largest of the channels' sizes over the smallest, where they are made or
            where they are used, whichever is more; a size is the largest weight.
        spread_after: The same afterwards.
        action: "equalized", or "kept" and why.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    spread_before: float
    spread_after: float
    action: str


@on_large_graphs
def equalize(model: keras.Model, *, passes: int = 20) -> list[Equalization]:
    """Make the channels of adjacent layers alike in size, in place; the model computes what it did.

    Channel c of what makes it (kernel and bias, or a BatchNormalization's γ and β) is multiplied by
    s_c = √(‖consumer_c‖/‖producer_c‖), the input channel of what uses it by 1/s_c. Tensors that are
    added share their scales, so that residual streams are equalized as a whole. Inference is
    unchanged to rounding; in training BatchNormalization undoes a scale before it.

    Args:
        model: Sequential or Functional, converted or not. It is changed.
        passes: How often all layers are gone through at most. Defaults to 20; few are needed.

    Returns:
        A record for each group of channels; those where the symmetry does not hold (a capped
        activation, a layer that is called several times, an input or output of the model) are kept,
        with the reason.

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
    before = [_spread(group) for group in groups]
    for _ in range(passes):
        if (
            max([_equalize(group) for group in groups if not group.reason], default=0.0)
            < _NEGLIGIBLE
        ):
            break
    return [_record(group, spread) for group, spread in zip(groups, before, strict=True)]


def _equalize(group: ChannelGroup) -> float:
    """Scale once; the largest |log s|."""
    made, used = group.made(), group.used()
    alive = (made > 0) & (used > 0)
    scales = np.ones_like(made)
    scales[alive] = np.clip(
        theory.equalizing_scales(made[alive], used[alive]), 1 / _LARGEST_SCALE, _LARGEST_SCALE
    )
    group.scale(scales)
    return float(np.abs(np.log(scales)).max())


def _spread(group: ChannelGroup) -> float:
    return float("nan") if group.reason else max(_ratio(group.made()), _ratio(group.used()))


def _ratio(sizes: Array) -> float:
    alive = sizes[sizes > 0]
    return float(alive.max() / alive.min()) if alive.size else 1.0


def _record(group: ChannelGroup, before: float) -> Equalization:
    return Equalization(
        tuple(step.path for step in group.producers),
        tuple(step.path for step in group.consumers),
        group.channels,
        before,
        _spread(group),
        f"kept: {group.reason}" if group.reason else "equalized",
    )
