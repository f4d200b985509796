"""Channels that are made together and used together: their scale can be moved between those layers,
the function unchanged (claim 6)."""

from __future__ import annotations

from collections import Counter
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
from keras_prelu.graph.plan import Program, Slot, Step, count_calls, writers
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


def channel_groups(program: Program) -> Iterator[ChannelGroup]:
    """The groups of tensors that activations, sums and poolings connect."""
    parents: dict[Slot, Slot] = {}

    def root(slot: Slot) -> Slot:
        while parents.setdefault(slot, slot) is not slot:
            slot = parents[slot]
        return slot

    calls = count_calls(program)
    for step in program.steps:
        if _connects(step):
            for slot in (*step.inputs[1:], *step.outputs):
                parents[root(slot)] = root(step.inputs[0])
    made = writers(program)
    feeders = {
        id(step.operation): made[step.inputs[0]].operation
        for step in program.steps
        if isinstance(step.operation, keras.layers.BatchNormalization)
        and step.inputs[0] in made
        and _makes(made[step.inputs[0]])
    }
    normalized = {
        step.inputs[0]
        for step in program.steps
        if isinstance(step.operation, keras.layers.BatchNormalization)
    }
    groups = dict.fromkeys(
        root(slot)
        for step in program.steps
        if _makes(step) or _connects(step)
        for slot in step.outputs
    )
    for group in groups:
        members = [slot for slot in made if root(slot) is group]
        if (
            len(members) > 1 or members[0] not in normalized
        ):  # a scale between a layer and its BatchNormalization is good for nothing
            yield _group(program, group, root, calls, feeders)


def _group(
    program: Program, group: Slot, root: Any, calls: Counter[int], feeders: dict[int, Any]
) -> ChannelGroup:
    producers, consumers, reason = [], [], ""
    if any(root(slot) is group for slot in (*program.inputs, *program.outputs)):
        reason = "it is an input or output of the model"
    for step in program.steps:
        inside = _connects(step) and root(step.inputs[0]) is group
        if inside and getattr(step.operation, "max_value", None) is not None:
            reason = f"'{step.path}' has a cap, so that it is not homogeneous"
        if inside:
            continue
        if any(root(slot) is group for slot in step.outputs):
            producers.append(step)
            reason = reason or (
                "" if _makes(step) else f"'{step.path}' has no weights that scale its output"
            )
        if any(root(slot) is group for slot in step.inputs):
            consumers.append(step)
            reason = reason or (
                "" if _uses(step) else f"'{step.path}' has no weights that scale its input"
            )
    shared = next(
        (step.path for step in (*producers, *consumers) if calls[id(step.operation)] > 1), ""
    )
    return ChannelGroup(
        producers,
        consumers,
        feeders,
        reason or (f"'{shared}' is called at several places" if shared else ""),
    )


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
