"""Groups of channels whose scale can be moved between layers.

The scale moves between the layers that write the channels and the layers that read them, with the
function unchanged (claim 6). What is not known to keep the scale of a channel ends a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.batch_norm import normalizes_last_axis
from keras_prelu.graph.channel_scaling import (
    input_variables,
    is_batch_normalization,
    output_channels,
    output_variables,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.layer_kinds import (
    has_linear_activation,
    is_channels_last,
    is_plain_call,
    is_sum,
    keeps_channels,
    keras_class,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.scaling.connected_slots import ConnectedSlots
from keras_prelu.scaling.group_obstacles import (
    GroupRules,
    compute_dtype,
    is_homogeneous,
    obstacle,
)
from keras_prelu.typing import Array

__all__ = ["ChannelGroup", "channel_groups"]


_FULL_PRECISION = ("float32", "float64")


class ChannelGroup:
    """Channels that have to be scaled together.

    Args:
        producers: Sequence of `Step`. The steps that write the channels.
        consumers: Sequence of `Step`. The steps that read the channels.
        feeders: Mapping from the id of a BatchNormalization to the layer before it.
        reason: String. Why the channels can't be scaled, or "".

    Attributes:
        producers: Sequence of `Step`. The steps that write the channels.
        consumers: Sequence of `Step`. The steps that read the channels.
        connecting: Sequence of `Step`. The steps between them, which keep the scale of a channel.
        feeders: Mapping from the id of a BatchNormalization to the layer before it.
        reason: String. Why the channels can't be scaled, or "".
    """

    def __init__(
        self,
        *,
        producers: Sequence[Step],
        consumers: Sequence[Step],
        connecting: Sequence[Step],
        feeders: Mapping[int, Any],
        reason: str,
    ) -> None:
        self.producers, self.consumers, self._feeders = producers, consumers, feeders
        self._connecting = connecting
        self.reason = reason or self._obstacle()

    @property
    def channels(self) -> int:
        """Number of channels; 0 if they can't be scaled."""
        return 0 if self.reason else output_channels(self.producers[0].operation)

    @property
    def variables(self) -> list[Any]:
        """The variables that `scale` changes; none if the channels can't be scaled."""
        if self.reason:
            return []
        written = [output_variables(step.operation) for step in self.producers]
        read = [input_variables(step.operation) for step in self.consumers]
        return [variable for variables in (*written, *read) for variable in variables]

    @property
    def layers(self) -> list[Any]:
        """The layers whose weights have a part in the sizes of the channels."""
        ends = [step.operation for step in (*self.producers, *self.consumers)]
        return ends + [feeder for feeder in map(self.feeder, ends) if feeder is not None]

    def feeder(self, layer: Any) -> Any:
        """Return the layer before a BatchNormalization of the group; None for other layers."""
        return self._feeders.get(id(layer))

    def scale(self, scales: Array) -> None:
        """Multiply the channels where they are written, and divide them where they are read."""
        for step in self.producers:
            scale_outputs(step.operation, scales)
        for step in self.consumers:
            scale_inputs(step.operation, 1.0 / scales)

    def without_rounding(self, scales: Array) -> Array:
        """Return the scales, or powers of 2 near them if something rounds to a low precision.

        Products with powers of 2 are exact, while rounding of bfloat16 would change the function:
        that of weights, or in layers that compute in it with weights of float32.
        """
        steps = (*self.producers, *self._connecting, *self.consumers)
        dtypes = [*map(compute_dtype, steps), *(variable.dtype for variable in self.variables)]
        if all(dtype in _FULL_PRECISION for dtype in dtypes):
            return scales
        powers: Array = np.exp2(np.round(np.log2(scales)))
        return powers

    def _obstacle(self) -> str:
        if not self.producers:
            return "nothing that can be scaled makes it"
        if not self.consumers:
            return "nothing that can be scaled uses it"
        channels = {output_channels(step.operation) for step in self.producers}
        channels |= {_input_channels(step.operation) for step in self.consumers}
        return "" if len(channels) == 1 else "its channels are not those of the weights"


def _input_channels(layer: Any) -> int:
    if is_batch_normalization(layer):
        return output_channels(layer)
    return int(layer.kernel.shape[-2])


def channel_groups(plan: ExecutionPlan) -> Iterator[ChannelGroup]:
    """Yield the groups of channels that activations, sums and poolings connect.

    The groups come in execution order.
    """
    connected = ConnectedSlots(plan, _RULES.connects)
    shared = SharedVariables(plan)
    feeders: dict[int, Any] = {}
    normalized: set[Slot] = set()
    roots: dict[Slot, None] = {}
    for step in plan.steps:
        if _makes(step) or _connects(step):
            roots.update(dict.fromkeys(map(connected.root, step.outputs)))
        if is_batch_normalization(step.operation):
            normalized.add(step.inputs[0])
            writer = plan.writer(step.inputs[0])
            if writer is not None and _makes(writer):
                feeders[id(step.operation)] = writer.operation
    for root in roots:
        members = connected.members[root]
        # A scale between a layer and its BatchNormalization would be useless.
        if len(members) > 1 or members[0] not in normalized:
            yield _group(plan, connected, root, feeders, shared)


def _group(
    plan: ExecutionPlan,
    connected: ConnectedSlots,
    root: Slot,
    feeders: dict[int, Any],
    shared: SharedVariables,
) -> ChannelGroup:
    producers, consumers, connecting = [], [], []
    for step in connected.steps[root]:
        if _connects(step):
            connecting.append(step)
            continue
        if connected.contains(root, step.outputs):
            producers.append(step)
        if connected.contains(root, step.inputs):
            consumers.append(step)
    if connected.contains(root, (*plan.inputs, *plan.outputs)):
        reason = "it is an input or output of the model"
    else:
        reason = obstacle(
            plan,
            shared,
            _RULES,
            producers=producers,
            connecting=connecting,
            consumers=consumers,
        )
    return ChannelGroup(
        producers=producers,
        consumers=consumers,
        connecting=connecting,
        feeders=feeders,
        reason=reason,
    )


def _connects(step: Step) -> bool:
    """Return whether the outputs of a step have the channels of its inputs, with their scales."""
    if is_sum(step):
        return True
    return is_plain_call(step) and (
        keeps_channels(step.operation) or _is_activation_of_channels(step.operation)
    )


def _is_activation_of_channels(layer: Any) -> bool:
    """Return whether a layer is an activation with φ(s·x) = s·φ(x), except for a cap."""
    if keras_class(layer) is keras.layers.Activation:
        return layer.activation is keras.activations.relu
    return is_homogeneous(layer) and is_channels_last(layer)


def _makes(step: Step) -> bool:
    """Return whether the weights of a step's layer can scale its outputs."""
    layer = step.operation
    if output_channels(layer) == 0 or not is_plain_call(step):
        return False
    if is_batch_normalization(layer):
        return normalizes_last_axis(layer)
    view = linear_view(layer)
    homogeneous = has_linear_activation(layer) or layer.activation is keras.activations.relu
    return homogeneous and view is not None and view.writes_channels_last


def _uses(step: Step) -> bool:
    """Return whether the weights of a step's layer can scale its inputs."""
    if is_batch_normalization(step.operation):
        return _makes(step)
    return is_plain_call(step) and reads_channels(step.operation)


_RULES = GroupRules(
    connects=_connects,
    makes=_makes,
    uses=_uses,
    written=output_variables,
    read=input_variables,
)
