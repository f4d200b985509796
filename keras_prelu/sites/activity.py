"""How active the units of a network are: on how many samples, and how strong each side of the
rectifier is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.custom_layers.converted_layer import is_converted, prelus
from keras_prelu.data.samples import model_inputs
from keras_prelu.graph.batch_probe import Probe
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_calls
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.layer_calls import layers_in_loops
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.sites.finder import LocatedSite, Site, locate_sites

__all__ = ["ActivityProbe", "SiteActivity", "activity"]

Tensor = Any


@dataclass(frozen=True)
class SiteActivity:
    """The units (channels) of one rectifier.

    Attributes:
        site: It.
        layer: What applies it.
        step: Where the model calls it, or the layer with Python code of its own that it is inside.
        inside: Whether it is inside such a layer.
        active: For each unit, on how many of the samples its pre-activation is positive somewhere.
        samples: How many samples there were.
        positive: For each unit the sum of squares of its positive pre-activations.
        negative: Of its negative ones; zeros for an inline rectifier of the graph, whose
            pre-activations are no tensor of it.
        share: The share of pre-activations that are 0 or less, over all units, samples and
            positions.
    """

    site: Site
    layer: Any
    step: Step
    inside: bool
    active: np.ndarray
    samples: int
    positive: np.ndarray
    negative: np.ndarray
    share: float

    @property
    def dead(self) -> np.ndarray:
        """For each unit whether it is active on no sample."""
        return self.active == 0


def activity(model: keras.Model, samples: Any, *, batch_size: int = 128) -> list[SiteActivity]:
    """Count the samples on which each unit is active, exactly, in one pass over all of them.

    Args:
        model: Sequential or Functional, nested models included, and layers with Python code of
            their own; of rectifiers inside those the functions that their code calls, and what a
            recurrent layer runs in a loop, are not seen.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Samples that go through the model at once.

    Returns:
        A record for each rectifier (ReLU, LeakyReLU, PReLU; inline ones too), in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
    """
    return ActivityProbe(model)(model_inputs(model, samples), batch_size)


class ActivityProbe:
    """`activity` of a model whose weights change meanwhile, compiled once."""

    def __init__(self, model: keras.Model) -> None:
        self._plan = compile_plan(model)
        rectifiers = (_Rectifier(located) for located in locate_sites(model))
        self._rectifiers = {item.located.site.path: item for item in rectifiers if not item.in_loop}
        self._steps: dict[str, Step] = {}
        self._probe = Probe(model, self._look)

    def __call__(self, inputs: Sequence[Any], batch_size: int = 128) -> list[SiteActivity]:
        """Of arrays, one for each of the model's inputs."""
        sums: dict[str, list[np.ndarray]] = {}
        for _, seen in self._probe.on(inputs, batch_size) if self._rectifiers else ():
            for path, values in seen.items():
                exact = [value.astype(np.float64) for value in values]
                sums[path] = (
                    [a + b for a, b in zip(sums[path], exact, strict=True)]
                    if path in sums
                    else exact
                )
        return [
            _record(self._rectifiers[path], self._steps[path], len(inputs[0]), *totals)
            for path, totals in sums.items()
        ]

    def _look(self, tensors: list[Tensor]) -> list[tuple[str, list[Tensor]]]:
        found: dict[str, list[Tensor]] = {}
        for rectifier, step, tensor in _met(self._plan, list(self._rectifiers.values()), tensors):
            path = rectifier.located.site.path
            self._steps.setdefault(path, step)
            values = _values(tensor, rectifier.located.data_format)
            found[path] = _joined(found[path], values) if path in found else values
        return [(path, [_count(values[0]), *values[1:]]) for path, values in found.items()]


class _Rectifier:
    """A site, and what applies it."""

    def __init__(self, located: LocatedSite) -> None:
        self.located = located
        self.layer, self.attribute, self.inside = located.owner, "call", True
        if located.place is not None:
            self.attribute = located.place.attribute
        elif is_converted(located.operation):
            self.layer = next(
                layer
                for layer in prelus(located.operation)
                if located.site.path.endswith(f"/{layer.name}")
            )
        else:
            self.inside = False

    @property
    def target(self) -> HookTarget:
        """The attribute that applies it."""
        return HookTarget(self.layer, self.attribute)

    @property
    def in_loop(self) -> bool:
        """Whether a recurrent layer runs it in a loop, where what it reads can't be seen."""
        return self.inside and id(self.layer) in layers_in_loops(self.located.operation)

    def is_met_by(self, step: Step) -> bool:
        """Whether a call in the graph is this site."""
        same = self.located.operation is step.operation and not self.inside
        return same and (self.located.index == step.index or self.located.site.kind == "inline")

    def takes(self, shape: Sequence[int | None]) -> bool:
        """Whether it is the site, of those that one object is, for tensors of a shape."""
        known = self.located.shapes
        width = shape[1 if self.located.data_format == "channels_first" else -1]
        return not known or (
            len(known[0]) == len(shape) and self.located.site.channels in (None, width)
        )


def _met(
    plan: ExecutionPlan, rectifiers: Sequence[_Rectifier], tensors: list[Tensor]
) -> Iterator[tuple[_Rectifier, Step, Tensor]]:
    """Run a plan on a batch: the rectifiers in execution order, the calls that they are met in,
    and their pre-activations."""
    heard: list[tuple[_Rectifier, Tensor]] = []
    inside: dict[tuple[int, str], list[_Rectifier]] = {}
    for item in rectifiers:
        if item.inside:
            inside.setdefault(item.target.key, []).append(item)

    def hear(call: HookedCall) -> None:
        sites = inside[call.target.key]
        tensor = call.inputs
        heard.extend([(item, tensor) for item in sites if item.takes(tensor.shape)][:1])

    with hook_calls([items[0].target for items in inside.values()], hear):
        for executed in iterate_steps(plan, tensors):
            step = executed.step
            yield from ((item, step, tensor) for item, tensor in heard)
            heard.clear()
            rectifier = next((item for item in rectifiers if item.is_met_by(step)), None)
            if rectifier is not None:
                # An inline activation's input is no tensor of the graph; its output is positive
                # exactly where the input is.
                inline = rectifier.located.site.kind == "inline"
                yield rectifier, step, executed.outputs[0] if inline else executed.inputs[0]


def _values(tensor: Tensor, data_format: str) -> list[Tensor]:
    """For each sample and channel whether a value is positive; for each channel the sums of squares
    of positive values and of others, how many are 0 or less, and how many there are."""
    values = keras.ops.cast(tensor, "float32")
    channel = 1 if data_format == "channels_first" else len(values.shape) - 1
    over = tuple(axis for axis in range(len(values.shape)) if axis not in (0, channel))
    # A sample's count is exact in float32, and its sum over samples in integers.
    not_positive = keras.ops.cast(values <= 0, "float32")
    below = keras.ops.sum(
        keras.ops.cast(keras.ops.sum(not_positive, axis=over) if over else not_positive, "int32"),
        axis=0,
    )
    sizes = keras.ops.shape(values)
    positions = math.prod([sizes[axis] for axis in (0, *over)])
    return [
        (keras.ops.max(values, axis=over) if over else values) > 0,
        keras.ops.sum(keras.ops.square(keras.ops.maximum(values, 0.0)), axis=(0, *over)),
        keras.ops.sum(keras.ops.square(keras.ops.minimum(values, 0.0)), axis=(0, *over)),
        below,
        keras.ops.ones_like(below) * positions,
    ]


def _joined(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """A layer that is called again, or the model that it is in, is one rectifier: a unit is active
    where it is in any call."""
    return [
        keras.ops.logical_or(one[0], other[0]),
        *(a + b for a, b in zip(one[1:], other[1:], strict=True)),
    ]


def _count(positive: Tensor) -> Tensor:
    return keras.ops.sum(keras.ops.cast(positive, "int32"), axis=0)


def _record(
    rectifier: _Rectifier,
    step: Step,
    samples: int,
    active: Any,
    positive: Any,
    negative: Any,
    below: Any,
    all_: Any,
) -> SiteActivity:
    share = float(below.sum() / all_.sum())
    return SiteActivity(
        rectifier.located.site,
        rectifier.layer,
        step,
        rectifier.inside,
        active.astype(int),
        samples,
        positive,
        negative,
        share,
    )
