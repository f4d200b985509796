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
    computes_as,
    has_linear_activation,
    is_channels_last,
    is_plain_call,
    is_sum,
    keeps_channels,
    keras_class,
)
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.graph.weight_constraints import may_be_scaled
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.layers import PReLU
from keras_prelu.typing import Array

__all__ = ["ChannelGroup", "channel_groups"]


_HOMOGENEOUS = (PReLU, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU)
"""Classes of activations with φ(s·x) = s·φ(x) for s > 0, without a cap and threshold."""

_FULL_PRECISION = ("float32", "float64")
_FULL_RANGE = ("float32", "float64", "bfloat16")


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
        dtypes = [*map(_compute_dtype, steps), *(variable.dtype for variable in self.variables)]
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
    connected = _ConnectedSlots(plan)
    shared = SharedVariables(plan)
    feeders: dict[int, Any] = {}
    normalized: set[Slot] = set()
    for step in plan.steps:
        if is_batch_normalization(step.operation):
            normalized.add(step.inputs[0])
            writer = plan.writer(step.inputs[0])
            if writer is not None and _makes(writer):
                feeders[id(step.operation)] = writer.operation
    for root in connected.written_roots:
        members = connected.members[root]
        # A scale between a layer and its BatchNormalization would be useless.
        if len(members) > 1 or members[0] not in normalized:
            yield _group(plan, connected, root, feeders, shared)


class _ConnectedSlots:
    """The slots of a plan as disjoint sets of connected slots.

    Steps that preserve the scale of a channel connect the slots that they read and write. A set is
    identified by one of its slots, its root.

    Attributes:
        members: Dict. For each root the slots of its set that steps write.
        steps: Dict. For each root the steps that read or write a slot of its set.
        written_roots: Dict. The roots of slots that can be scaled or keep their scale, in
            execution order.
    """

    def __init__(self, plan: ExecutionPlan) -> None:
        self._parents: dict[Slot, Slot] = {}
        for step in plan.steps:
            if _connects(step):
                for slot in (*step.inputs[1:], *step.outputs):
                    self._parents[self.root(slot)] = self.root(step.inputs[0])
        self.members: dict[Slot, list[Slot]] = {}
        self.steps: dict[Slot, list[Step]] = {}
        self.written_roots: dict[Slot, None] = {}
        for step in plan.steps:
            for slot in step.outputs:
                self.members.setdefault(self.root(slot), []).append(slot)
                if _makes(step) or _connects(step):
                    self.written_roots[self.root(slot)] = None
            for root in dict.fromkeys(map(self.root, (*step.inputs, *step.outputs))):
                self.steps.setdefault(root, []).append(step)

    def root(self, slot: Slot) -> Slot:
        path = []
        while self._parents.setdefault(slot, slot) is not slot:
            path.append(slot)
            slot = self._parents[slot]
        self._parents.update(dict.fromkeys(path, slot))  # The next search takes one step.
        return slot

    def contains(self, root: Slot, slots: Sequence[Slot]) -> bool:
        """Return whether a set contains any of some slots."""
        return any(self.root(slot) is root for slot in slots)


def _group(
    plan: ExecutionPlan,
    connected: _ConnectedSlots,
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
        reason = (
            _obstacle_between(connecting)
            or _obstacle_at_ends(plan, producers, consumers)
            or _obstacle_of_weights(producers, consumers, shared)
            or _obstacle_of_penalties(producers, connecting)
        )
    return ChannelGroup(
        producers=producers,
        consumers=consumers,
        connecting=connecting,
        feeders=feeders,
        reason=reason,
    )


def _obstacle_between(connecting: Sequence[Step]) -> str:
    """Return why what connects the channels changes with their scale, or ""."""
    for step in connecting:
        if getattr(step.operation, "max_value", None) is not None:
            return f"'{step.path}' has a cap, so that it is not homogeneous"
        obstacle = _obstacle_of_range(step)
        if obstacle:
            return obstacle
    return ""


def _obstacle_at_ends(
    plan: ExecutionPlan, producers: Sequence[Step], consumers: Sequence[Step]
) -> str:
    """Return why a layer that writes or reads the channels can't scale them, or ""."""
    for step in producers:
        if not _makes(step):
            return f"'{step.path}' has no weights that scale its output"
    for step in consumers:
        if not _uses(step):
            return f"'{step.path}' has no weights that scale its input"
    for step in (*producers, *consumers):
        if plan.call_count(step.operation) > 1:
            return f"'{step.path}' is called at several places"
        obstacle = _obstacle_of_range(step)
        if obstacle:
            return obstacle
    return ""


def _obstacle_of_weights(
    producers: Sequence[Step], consumers: Sequence[Step], shared: SharedVariables
) -> str:
    """Return why the weights that would be scaled have to stay as they are, or ""."""
    written = [(step, output_variables(step.operation)) for step in producers]
    read = [(step, input_variables(step.operation)) for step in consumers]
    for step, variables in (*written, *read):
        if shared.contains_any(variables):
            return f"'{step.path}' shares its weights with another layer"
        if not all(map(may_be_scaled, variables)):
            return f"'{step.path}' has a constraint, which scaled weights would violate"
    return ""


def _obstacle_of_penalties(producers: Sequence[Step], connecting: Sequence[Step]) -> str:
    """Return which layer adds a penalty on the channels to the model's loss, or ""."""
    for step in (*producers, *connecting):
        if getattr(step.operation, "activity_regularizer", None) is not None:
            return f"'{step.path}' has an activity regularizer, which depends on the scale"
    return ""


def _obstacle_of_range(step: Step) -> str:
    """Return why scaled values might not fit the dtype that a step computes in, or ""."""
    dtype = _compute_dtype(step)
    if dtype in _FULL_RANGE:
        return ""
    return f"'{step.path}' computes in {dtype}, which scaled channels might overflow"


def _compute_dtype(step: Step) -> str:
    return str(getattr(step.operation, "compute_dtype", "float32"))


def _connects(step: Step) -> bool:
    """Return whether the outputs of a step have the channels of its inputs, with their scales."""
    if is_sum(step):
        return True
    return is_plain_call(step) and (
        keeps_channels(step.operation) or _is_homogeneous(step.operation)
    )


def _is_homogeneous(layer: Any) -> bool:
    """Return whether a layer is an activation with φ(s·x) = s·φ(x), except for a cap."""
    if keras_class(layer) is keras.layers.Activation:
        return layer.activation is keras.activations.relu
    return (
        any(computes_as(layer, cls) for cls in _HOMOGENEOUS)
        and is_channels_last(layer)
        and getattr(layer, "threshold", 0) == 0
    )


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
