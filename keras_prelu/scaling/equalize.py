"""Cross-layer equalization: moving the scale of a channel between layers (claim 6).

For every s > 0, φ(s·x) = s·φ(x). Multiplying a channel by s where it is written and by 1/s where it
is read therefore leaves the function unchanged, through PReLU, sums, poolings and paddings.
Per-tensor quantization needs channels of similar size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras

from keras_prelu.errors import ConversionError
from keras_prelu.graph.plan import Step, compile_plan
from keras_prelu.graph.saved_weights import SavedWeights, restored_on_failure
from keras_prelu.scaling.channel_groups import ChannelGroup, channel_groups
from keras_prelu.scaling.equalizing_scales import GroupScales, find_scales
from keras_prelu.typing import Array
from keras_prelu.utils.checks import check_integer
from keras_prelu.utils.large_graphs import on_large_graphs
from keras_prelu.verification.agreement import OTHER_WEIGHTS
from keras_prelu.verification.same_function import FunctionCheck

__all__ = ["Equalization", "equalize"]


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
            groups that have layers in common shrinks a lot.
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
        ConversionError: The model has no graph; or its predictions change, so that it got its old
            weights back.
        InvalidArgumentError: A ValueError; `passes` is no integer of at least 1.

    Example:

    >>> records = keras_prelu.equalize(converted)

    References:
        Nagel et al. 2019, https://arxiv.org/abs/1906.04721. Claim 6.
    """
    check_integer("passes", passes, minimum=1)
    groups = list(channel_groups(compile_plan(model)))
    scalable = [group for group in groups if not group.reason]
    found = {id(each.group): each for each in find_scales(scalable, passes)}
    scaled = [(each.group, each.scales) for each in found.values() if each.scales is not None]
    check = FunctionCheck(model)
    with restored_on_failure(
        variable for group in scalable for variable in group.variables
    ) as saved:
        for group, scales in scaled:
            group.scale(scales)
        reason = check.difference(model, OTHER_WEIGHTS)
        if reason:
            saved.restore()
            raise ConversionError(
                f"Equalizing '{model.name}' changes what it computes"
                f" ({reason}){_first_to_blame(model, scaled, check, saved)}. The model has its old"
                " weights."
            )
    return [_record(group, found.get(id(group))) for group in groups]


def _first_to_blame(
    model: keras.Model,
    scaled: Sequence[tuple[ChannelGroup, Array]],
    check: FunctionCheck,
    saved: SavedWeights,
) -> str:
    for group, scales in scaled:
        group.scale(scales)
        differs = check.difference(model, OTHER_WEIGHTS)
        saved.restore()
        if differs:
            return (
                f": the channels that {_names(group.producers)} writes and"
                f" {_names(group.consumers)} reads can't be scaled"
            )
    return ""


def _names(steps: Sequence[Step]) -> str:
    return " and ".join(f"'{step.path}'" for step in steps) or "the model"


def _record(group: ChannelGroup, found: GroupScales | None) -> Equalization:
    if found is None:
        action = f"kept: {group.reason}"
    elif found.scales is None:
        action = "kept: the spread of its channels, or of its neighbours', would grow"
    else:
        action = "equalized"
    return Equalization(
        producers=tuple(step.path for step in group.producers),
        consumers=tuple(step.path for step in group.consumers),
        channels=group.channels,
        spread_before=float("nan") if found is None else found.spread_before,
        spread_after=float("nan") if found is None else found.spread_after,
        action=action,
    )
