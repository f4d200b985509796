"""Cross-layer equalization: the scale of a channel moved between the layers before and after it, the function unchanged (claim 6).

For every s > 0, φ(s·x) = s·φ(x): a channel that is multiplied by s where it is made and by 1/s where it is used changes nothing, through
PReLU, sums, poolings and paddings. Per-tensor quantization needs channels of similar size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu._large_graphs import on_large_graphs
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import PReLU
from keras_prelu.surgery.channelwise import CHANNELWISE
from keras_prelu.surgery.linear import linear_view
from keras_prelu.surgery.program import Program, Slot, Step, compile_program
from keras_prelu.surgery.scaling import numbers, output_channels, reads_channels, scale_inputs, scale_outputs

__all__ = ["Equalization", "equalize"]

Array = np.ndarray

_KEEPING = CHANNELWISE | {"Add"}  # layers through which a channel keeps its scale
_LARGEST_SCALE = 1e4
_NEGLIGIBLE = 1e-3  # of log s: the passes end where no channel changes by more


@dataclass(frozen=True)
class Equalization:
    """What was done with channels that are made together and used together.

    Attributes:
        producers: Paths of the layers that make them.
        consumers: Paths of the layers that use them.
        channels: How many there are.
        spread_before: The largest of the channels' sizes over the smallest, where they are made or where they are used, whichever is more;
            a size is the largest weight.
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

    Channel c of what makes it (kernel and bias, or a BatchNormalization's γ and β) is multiplied by s_c = √(‖consumer_c‖/‖producer_c‖),
    the input channel of what uses it by 1/s_c. Tensors that are added share their scales, so that residual streams are equalized as a
    whole. Inference is unchanged to rounding; in training BatchNormalization undoes a scale before it.

    Args:
        model: Sequential or Functional, converted or not. It is changed.
        passes: How often all layers are gone through at most. Defaults to 20; few are needed.

    Returns:
        A record for each group of channels; those where the symmetry does not hold (a capped activation, a layer that is called several
        times, an input or output of the model) are kept, with the reason.

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
    groups = list(_groups(compile_program(model)))
    before = [group.spread() for group in groups]
    for _ in range(passes):
        if max([group.equalize() for group in groups if not group.reason], default=0.0) < _NEGLIGIBLE:
            break
    return [group.record(spread) for group, spread in zip(groups, before, strict=True)]


class _Group:
    """Channels that have to be scaled together."""

    def __init__(self, producers: Sequence[Step], consumers: Sequence[Step], feeders: dict[int, Any], reason: str) -> None:
        self._producers, self._consumers, self._feeders = producers, consumers, feeders
        self.reason = reason or self._why_not()

    def _why_not(self) -> str:
        if not self._producers or not self._consumers:
            return "nothing that can be scaled makes it" if not self._producers else "nothing that can be scaled uses it"
        sizes = {self._outputs(step.operation).size for step in self._producers}
        sizes |= {self._inputs(step.operation).size for step in self._consumers}
        return "" if len(sizes) == 1 else "its channels are not those of the weights"

    def _outputs(self, layer: Any) -> Array:
        """The size of each output channel: its largest weight, a BatchNormalization's folded into the layer before it."""
        if isinstance(layer, keras.layers.BatchNormalization):
            factor = np.abs(numbers(layer.gamma)) / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
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
            return np.abs(numbers(layer.gamma)) / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
        kernel = np.abs(numbers(layer.kernel))
        return kernel.max(axis=tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2))

    def spread(self) -> float:
        return float("nan") if self.reason else max(_spread(self._made()), _spread(self._used()))

    def equalize(self) -> float:
        """Scale once; the largest |log s|."""
        made, used = self._made(), self._used()
        alive = (made > 0) & (used > 0)
        scales = np.ones_like(made)
        scales[alive] = np.clip(theory.equalizing_scales(made[alive], used[alive]), 1 / _LARGEST_SCALE, _LARGEST_SCALE)
        for step in self._producers:
            scale_outputs(step.operation, scales)
        for step in self._consumers:
            scale_inputs(step.operation, 1.0 / scales)
        return float(np.abs(np.log(scales)).max())

    def _made(self) -> Array:
        sizes: Array = np.max([self._outputs(step.operation) for step in self._producers], axis=0)
        return sizes

    def _used(self) -> Array:
        sizes: Array = np.max([self._inputs(step.operation) for step in self._consumers], axis=0)
        return sizes

    def record(self, before: float) -> Equalization:
        return Equalization(
            tuple(step.path for step in self._producers),
            tuple(step.path for step in self._consumers),
            0 if self.reason else self._outputs(self._producers[0].operation).size,
            before,
            self.spread(),
            f"kept: {self.reason}" if self.reason else "equalized",
        )


def _spread(sizes: Array) -> float:
    alive = sizes[sizes > 0]
    return float(alive.max() / alive.min()) if alive.size else 1.0


def _groups(program: Program) -> Iterator[_Group]:
    """The groups of tensors that activations, sums and poolings connect."""
    parents: dict[Slot, Slot] = {}

    def root(slot: Slot) -> Slot:
        while parents.setdefault(slot, slot) is not slot:
            slot = parents[slot]
        return slot

    calls: dict[int, int] = {}
    for step in program.steps:
        calls[id(step.operation)] = calls.get(id(step.operation), 0) + 1
        if _connects(step):
            for slot in (*step.inputs[1:], *step.outputs):
                parents[root(slot)] = root(step.inputs[0])
    made = {slot: step for step in program.steps for slot in step.outputs}
    feeders = {
        id(step.operation): made[step.inputs[0]].operation
        for step in program.steps
        if isinstance(step.operation, keras.layers.BatchNormalization) and step.inputs[0] in made and _makes(made[step.inputs[0]])
    }
    normalized = {step.inputs[0] for step in program.steps if isinstance(step.operation, keras.layers.BatchNormalization)}
    groups = dict.fromkeys(root(slot) for step in program.steps if _makes(step) or _connects(step) for slot in step.outputs)
    for group in groups:
        members = [slot for slot in made if root(slot) is group]
        if len(members) > 1 or members[0] not in normalized:  # a scale between a layer and its BatchNormalization is good for nothing
            yield _group(program, group, root, calls, feeders)


def _group(program: Program, group: Slot, root: Any, calls: dict[int, int], feeders: dict[int, Any]) -> _Group:
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
            reason = reason or ("" if _makes(step) else f"'{step.path}' has no weights that scale its output")
        if any(root(slot) is group for slot in step.inputs):
            consumers.append(step)
            reason = reason or ("" if _uses(step) else f"'{step.path}' has no weights that scale its input")
    shared = next((step.path for step in (*producers, *consumers) if calls[id(step.operation)] > 1), "")
    return _Group(producers, consumers, feeders, reason or (f"'{shared}' is called at several places" if shared else ""))


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
    homogeneous = getattr(layer, "activation", None) in (None, keras.activations.linear, keras.activations.relu)
    return output_channels(layer) > 0 and homogeneous and getattr(layer, "data_format", "channels_last") == "channels_last"


def _uses(step: Step) -> bool:
    layer = step.operation
    if isinstance(layer, keras.layers.BatchNormalization):
        return _makes(step)
    return linear_view(layer) is not None and reads_channels(layer, int(layer.kernel.shape[-2]))
