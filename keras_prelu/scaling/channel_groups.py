"""Groups of channels whose scale can be moved between layers.

The scale moves between the layers that write the channels and the layers that read them, with the
function unchanged (claim 6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import inference_factor, normalizes_last_axis
from keras_prelu.graph.channel_scaling import (
    output_channels,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.layer_kinds import CHANNELWISE, has_linear_activation, is_channels_last
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.layers import PReLU
from keras_prelu.typing import Array

__all__ = ["ChannelGroup", "channel_groups"]


_SCALE_PRESERVING = CHANNELWISE | {"Add"}
"""Class names of layers through which a channel keeps its scale."""
_HOMOGENEOUS = (PReLU, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU)


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
        reason: String. Why the channels can't be scaled, or "".
    """

    def __init__(
        self,
        *,
        producers: Sequence[Step],
        consumers: Sequence[Step],
        feeders: Mapping[int, Any],
        reason: str,
    ) -> None:
        self.producers, self.consumers, self._feeders = producers, consumers, feeders
        self.reason = reason or self._obstacle()

    @property
    def channels(self) -> int:
        """Number of channels; 0 if they can't be scaled."""
        return 0 if self.reason else self._output_sizes(self.producers[0].operation).size

    def producer_sizes(self) -> Array:
        """Return the largest weight that writes each channel."""
        sizes: Array = np.max([self._output_sizes(step.operation) for step in self.producers], 0)
        return sizes

    def consumer_sizes(self) -> Array:
        """Return the largest weight that each channel is multiplied by where it is read."""
        sizes: Array = np.max([_input_sizes(step.operation) for step in self.consumers], axis=0)
        return sizes

    def scale(self, scales: Array) -> None:
        """Multiply the channels where they are written, and divide them where they are read."""
        for step in self.producers:
            scale_outputs(step.operation, scales)
        for step in self.consumers:
            scale_inputs(step.operation, 1.0 / scales)

    def _obstacle(self) -> str:
        if not self.producers:
            return "nothing that can be scaled makes it"
        if not self.consumers:
            return "nothing that can be scaled uses it"
        channels = {self._output_sizes(step.operation).size for step in self.producers}
        channels |= {_input_sizes(step.operation).size for step in self.consumers}
        return "" if len(channels) == 1 else "its channels are not those of the weights"

    def _output_sizes(self, layer: Any) -> Array:
        """Return the largest weight of each output channel.

        A BatchNormalization is folded into the layer before it.
        """
        if isinstance(layer, keras.layers.BatchNormalization):
            factor = np.abs(inference_factor(layer))
            feeder = self._feeders.get(id(layer))
            if feeder is None:
                return factor
            sizes = self._output_sizes(feeder)
            return factor * sizes if sizes.size == factor.size else factor
        view = linear_view(layer)
        assert view is not None
        return np.abs(view.to_matrix(to_float64(view.kernel))).max(axis=1).reshape(-1)


def _input_sizes(layer: Any) -> Array:
    """Return the largest weight that each input channel is multiplied by."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return np.abs(inference_factor(layer))
    kernel = np.abs(to_float64(layer.kernel))
    return kernel.max(axis=tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2))


def channel_groups(plan: ExecutionPlan) -> Iterator[ChannelGroup]:
    """Yield the groups of channels that activations, sums and poolings connect.

    The groups come in execution order.
    """
    connected = _ConnectedSlots(plan)
    feeders: dict[int, Any] = {}
    normalized: set[Slot] = set()
    for step in plan.steps:
        if isinstance(step.operation, keras.layers.BatchNormalization):
            normalized.add(step.inputs[0])
            writer = plan.writer(step.inputs[0])
            if writer is not None and _makes(writer):
                feeders[id(step.operation)] = writer.operation
    for root in connected.written_roots:
        members = connected.members[root]
        # A scale between a layer and its BatchNormalization would be useless.
        if len(members) > 1 or members[0] not in normalized:
            yield _group(plan, connected, root, feeders)


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
    plan: ExecutionPlan, connected: _ConnectedSlots, root: Slot, feeders: dict[int, Any]
) -> ChannelGroup:
    producers, consumers, reason = [], [], ""
    if connected.contains(root, (*plan.inputs, *plan.outputs)):
        reason = "it is an input or output of the model"
    for step in connected.steps[root]:
        if _connects(step) and connected.contains(root, step.inputs[:1]):
            if getattr(step.operation, "max_value", None) is not None:
                reason = f"'{step.path}' has a cap, so that it is not homogeneous"
            continue
        if connected.contains(root, step.outputs):
            producers.append(step)
            if not reason and not _makes(step):
                reason = f"'{step.path}' has no weights that scale its output"
        if connected.contains(root, step.inputs):
            consumers.append(step)
            if not reason and not _uses(step):
                reason = f"'{step.path}' has no weights that scale its input"
    shared = [step.path for step in (*producers, *consumers) if plan.call_count(step.operation) > 1]
    if shared and not reason:
        reason = f"'{shared[0]}' is called at several places"
    return ChannelGroup(producers=producers, consumers=consumers, feeders=feeders, reason=reason)


def _connects(step: Step) -> bool:
    """Return whether the outputs of a step have the channels of its inputs, with their scales."""
    layer = step.operation
    if not is_channels_last(layer):
        return False
    if isinstance(layer, keras.layers.ReLU) and layer.threshold != 0:
        return False
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.relu or has_linear_activation(layer)
    return isinstance(layer, _HOMOGENEOUS) or type(layer).__name__ in _SCALE_PRESERVING


def _makes(step: Step) -> bool:
    """Return whether the weights of a step's layer can scale its outputs."""
    layer = step.operation
    if output_channels(layer) == 0:
        return False
    if isinstance(layer, keras.layers.BatchNormalization):
        return normalizes_last_axis(layer)
    homogeneous = (
        has_linear_activation(layer) or getattr(layer, "activation", None) is keras.activations.relu
    )
    return homogeneous and is_channels_last(layer)


def _uses(step: Step) -> bool:
    """Return whether the weights of a step's layer can scale its inputs."""
    layer = step.operation
    if isinstance(layer, keras.layers.BatchNormalization):
        return _makes(step)
    return linear_view(layer) is not None and reads_channels(layer, int(layer.kernel.shape[-2]))
