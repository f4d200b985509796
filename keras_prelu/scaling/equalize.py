"""Cross-layer equalization: moving the scale of a channel between layers (claim 6).

For every s > 0, φ(s·x) = s·φ(x). Multiplying a channel by s where it is written and by 1/s where it
is read therefore leaves the function unchanged, through PReLU, sums, poolings and paddings.
Per-tensor quantization needs channels of similar size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.backend.variables import held_value, restore
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.plan import Step, compile_plan
from keras_prelu.scaling.channel_groups import ChannelGroup, channel_groups
from keras_prelu.typing import Array
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS
from keras_prelu.verification.same_function import FunctionCheck

__all__ = ["Equalization", "equalize"]


_LARGEST_SCALE = 1e4
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
            largest weight. NaN if the channels can't be scaled.
        spread_after: Float. The spread afterwards.
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
    whole. Inference is unchanged up to rounding; in training, a BatchNormalization undoes a scale
    before it.

    Args:
        model: `keras.Model`. Sequential or Functional, converted or not. It is changed.
        passes: Integer. The largest number of passes over all layers. Defaults to 20; few are
            needed.

    Returns:
        A list of `Equalization`, one for each group of channels. Groups for which the symmetry does
        not hold (a capped activation, a layer that is called several times, an input or output of
        the model) are kept, with the reason.

    Raises:
        ConversionError: The model has no graph; or its predictions change, so that it got its old
            weights back.
        InvalidArgumentError: A ValueError; `passes` is below 1.

    Example:

    >>> records = keras_prelu.equalize(converted)

    References:
        Nagel et al. 2019, https://arxiv.org/abs/1906.04721. Claim 6.
    """
    if passes < 1:
        raise InvalidArgumentError(f"`passes` must be at least 1. Received: passes={passes}")
    groups = list(channel_groups(compile_plan(model)))
    scalable = [group for group in groups if not group.reason]
    spreads = [_spread(group) for group in groups]
    _equalize_all(model, scalable, passes)
    return [
        Equalization(
            producers=tuple(step.path for step in group.producers),
            consumers=tuple(step.path for step in group.consumers),
            channels=group.channels,
            spread_before=spread,
            spread_after=_spread(group),
            action=f"kept: {group.reason}" if group.reason else "equalized",
        )
        for group, spread in zip(groups, spreads, strict=True)
    ]


def _equalize_all(model: keras.Model, groups: Sequence[ChannelGroup], passes: int) -> None:
    """Equalize groups, or change nothing and raise the error for the group that is to blame."""
    check, weights = FunctionCheck(model), _Weights(model)
    with weights.restored_on_error():
        for _ in range(passes):
            changes = [_equalize(group) for group in groups]
            if max(changes, default=0.0) < _NEGLIGIBLE:
                break
        reason = check.difference(model, OTHER_WEIGHTS)
        if reason:
            weights.restore()
            culprit = _first_to_blame(model, groups, check, weights)
            raise ConversionError(
                f"Equalizing '{model.name}' changes what it computes ({reason}){culprit}. The model"
                " has its old weights."
            )


def _first_to_blame(
    model: keras.Model, groups: Sequence[ChannelGroup], check: FunctionCheck, weights: _Weights
) -> str:
    for group in groups:
        _equalize(group)
        differs = check.difference(model, OTHER_WEIGHTS)
        weights.restore()
        if differs:
            return (
                f": the channels that {_names(group.producers)} writes and"
                f" {_names(group.consumers)} reads can't be scaled"
            )
    return ""


def _names(steps: Sequence[Step]) -> str:
    return " and ".join(f"'{step.path}'" for step in steps) or "the model"


class _Weights:
    """The weights of a model at the time of construction."""

    def __init__(self, model: keras.Model) -> None:
        self._held = [(variable, held_value(variable)) for variable in model.weights]

    def restore(self) -> None:
        for variable, value in self._held:
            restore(variable, value)

    @contextmanager
    def restored_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.restore()
            raise


def _equalize(group: ChannelGroup) -> float:
    """Scale the channels of a group once, and return the largest |log s|."""
    producer_sizes, consumer_sizes = group.producer_sizes(), group.consumer_sizes()
    alive = (producer_sizes > 0) & (consumer_sizes > 0)
    scales = np.ones_like(producer_sizes)
    scales[alive] = np.clip(
        theory.equalizing_scales(producer_sizes[alive], consumer_sizes[alive]),
        1 / _LARGEST_SCALE,
        _LARGEST_SCALE,
    )
    group.scale(scales)
    return float(np.abs(np.log(scales)).max())


def _spread(group: ChannelGroup) -> float:
    if group.reason:
        return float("nan")
    return max(_ratio(group.producer_sizes()), _ratio(group.consumer_sizes()))


def _ratio(sizes: Array) -> float:
    alive = sizes[sizes > 0]
    return float(alive.max() / alive.min()) if alive.size else 1.0
