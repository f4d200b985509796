"""Channels that are made together and used together: their scale can be moved between those layers,
the function unchanged (claim 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.channel_scaling import (
    numbers,
    output_channels,
    reads_channels,
    scale_inputs,
    scale_outputs,
)
from keras_prelu.graph.layer_kinds import CHANNELWISE
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.layers import PReLU

__all__ = ["ChannelGroup", "channel_groups"]

Array = np.ndarray

_KEEPING = CHANNELWISE | {"Add"}  # layers through which a channel keeps its scale


class ChannelGroup:
    """Channels that have to be scaled together.

    Attributes:
        producers: The steps that make them.
        consumers: The steps that use them.
        reason: Why they can't be scaled, or "".
    """

    def __init__(
        self,
        producers: Sequence[Step],
        consumers: Sequence[Step],
        feeders: dict[int, Any],
        reason: str,
    ) -> None:
        self.producers, self.consumers, self._feeders = producers, consumers, feeders
        self.reason = reason or self._why_not()

    def _why_not(self) -> str:
        if not self.producers or not self.consumers:
            return (
                "nothing that can be scaled makes it"
                if not self.producers
                else "nothing that can be scaled uses it"
            )
        sizes = {self._outputs(step.operation).size for step in self.producers}
        sizes |= {self._inputs(step.operation).size for step in self.consumers}
        return "" if len(sizes) == 1 else "its channels are not those of the weights"

    def _outputs(self, layer: Any) -> Array:
        """The size of each output channel: its largest weight, a BatchNormalization's folded into
        the layer before it."""
        if isinstance(layer, keras.layers.BatchNormalization):
            factor = np.abs(numbers(layer.gamma)) / np.sqrt(
                numbers(layer.moving_variance) + layer.epsilon
            )
            feeder = self._feeders.get(id(layer))
            inner = self._outputs(feeder) if feeder is not None else np.ones_like(factor)
            return factor * inner if inner.size == factor.size else factor
        view = linear_view(layer)
        assert view is not None
        matrix = view.to_matrix(numbers(view.kernel))
        return np.abs(matrix).max(axis=1).reshape(-1)

    def _inputs(self, layer: Any) -> Array:
        """The size of what each input channel is multiplied by."""
        if isinstance(layer, keras.layers.BatchNormalization):
            return np.abs(numbers(layer.gamma)) / np.sqrt(
                numbers(layer.moving_variance) + layer.epsilon
            )
        kernel = np.abs(numbers(layer.kernel))
        return kernel.max(
            axis=tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2)
        )

    @property
    def channels(self) -> int:
        """How many there are; 0 where they can't be scaled."""
        return 0 if self.reason else self._outputs(self.producers[0].operation).size

    def made(self) -> Array:
        """The size of each channel where it is made: the largest weight."""
        sizes: Array = np.max([self._outputs(step.operation) for step in self.producers], axis=0)
        return sizes

    def used(self) -> Array:
        """The size of what each channel is multiplied by where it is used."""
        sizes: Array = np.max([self._inputs(step.operation) for step in self.consumers], axis=0)
        return sizes

    def scale(self, scales: Array) -> None:
        """Multiply the channels where they are made, and divide them where they are used."""
        for step in self.producers:
            scale_outputs(step.operation, scales)
        for step in self.consumers:
            scale_inputs(step.operation, 1.0 / scales)


def channel_groups(plan: ExecutionPlan) -> Iterator[ChannelGroup]:
    """Yield the groups of channels that activations, sums and poolings connect, in execution
    order."""
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
        # A scale between a layer and its BatchNormalization would have no use.
        if len(members) > 1 or members[0] not in normalized:
            yield _group(plan, connected, root, feeders)


class _ConnectedSlots:
    """The slots of a plan as disjoint sets: steps through which a channel keeps its scale connect
    what they read and write. A set is named by one of its slots, its root.

    Attributes:
        members: For each root the slots of its set that steps write.
        steps: For each root the steps that read or write a slot of its set.
        written_roots: The roots of what can be scaled or keeps its scale, in execution order.
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
        """Return whether a set contains one of some slots."""
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


_HOMOGENEOUS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU)


def _connects(step: Step) -> bool:
    """Whether a step's output has its inputs' channels with their scales."""
    layer = step.operation
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return False
    if isinstance(layer, keras.layers.ReLU) and layer.threshold != 0:
        return False
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in (keras.activations.relu, keras.activations.linear)
    return isinstance(layer, (PReLU, *_HOMOGENEOUS)) or type(layer).__name__ in _KEEPING


def _makes(step: Step) -> bool:
    layer = step.operation
    if isinstance(layer, keras.layers.BatchNormalization):
        last = len((layer.get_build_config() or {}).get("input_shape", ())) - 1
        return output_channels(layer) > 0 and layer.axis in (-1, last)
    homogeneous = getattr(layer, "activation", None) in (
        None,
        keras.activations.linear,
        keras.activations.relu,
    )
    return (
        output_channels(layer) > 0
        and homogeneous
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


def _uses(step: Step) -> bool:
    layer = step.operation
    if isinstance(layer, keras.layers.BatchNormalization):
        return _makes(step)
    return linear_view(layer) is not None and reads_channels(layer, int(layer.kernel.shape[-2]))
