"""Activity of the units of a network.

Measured are the number of samples on which a unit is active, and the strength of each side of its
rectifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.layer_calls import layers_in_loops
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.site import LocatedSite, Site
from keras_prelu.typing import Tensor

__all__ = ["ActivityProbe", "SiteActivity"]


@dataclass(frozen=True)
class SiteActivity:
    """The units (channels) of one rectifier.

    Attributes:
        site: `Site`.
        layer: Layer, op or object. The object that applies the rectifier.
        step: `Step`. The call, in the model, of the rectifier or of the layer with Python code of
            its own that holds the rectifier.
        inside: Boolean. Whether a layer with Python code of its own holds the rectifier.
        active: Array of integers. For each unit, the number of samples on which its pre-activation
            is positive somewhere.
        samples: Integer. Number of samples. If the code of a layer divides each of them, such as
            into the windows of an image, it is the number of the parts.
        positive: Array of floats. For each unit, the sum of squares of its positive
            pre-activations.
        negative: Array of floats. For each unit, the sum of squares of its negative
            pre-activations; zeros for an inline rectifier of the graph, whose pre-activations are
            not a tensor of the graph.
        share: Float. The share of pre-activations that are 0 or less, over all units, samples and
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
        """For each unit, whether it is active on no sample."""
        return self.dead_within(0.0)

    def dead_within(self, threshold: float) -> np.ndarray:
        """Return for each unit whether it counts as dead.

        This is the only definition: a unit is dead if the share of samples on which it is active is
        at most the threshold.

        Args:
            threshold: Float in [0, 1). 0 for units that are active on no sample.

        Returns:
            Array of booleans.
        """
        return self.active <= threshold * self.samples


class ActivityProbe:
    """Counts of the samples on which each unit is active, exactly, in one pass over all samples.

    It is compiled once; the weights of the model may change between the calls.

    Args:
        model: `keras.Model`, with nested models, and layers and models with Python code of their
            own. Inside such code, some rectifiers are not seen and left out: functions that the
            code calls, and those that run in a loop, in a branch or in other code that the backend
            traces by itself.
        x: Array, or structure of arrays. Samples that the model can be called with, which are
            needed for one that does not declare its inputs.

    Attributes:
        paths: Tuple of strings. The paths of all sites of the model, seen or not.
    """

    def __init__(self, model: keras.Model, x: Any) -> None:
        graph = with_declared_inputs(model, x)
        self._plan = compile_plan(graph)
        sites = locate_sites(model)
        self.paths = tuple(located.site.path for located in sites)
        self._sites = {located.site.path: located for located in sites if _is_visible(located)}
        self._steps: dict[str, Step] = {}
        self._probe = BatchProbe(graph, self._measure)

    def __call__(self, inputs: Sequence[Any], batch_size: int = 128) -> list[SiteActivity]:
        """Measure the activity on `inputs`, one array for each of the model's inputs."""
        totals: dict[str, _UnitSums] = {}
        for batch in self._probe.batches(inputs, batch_size) if self._sites else ():
            for path, arrays in batch.values.items():
                sums = _UnitSums(*(array.astype(np.float64) for array in arrays))
                totals[path] = totals[path] + sums if path in totals else sums
        return [
            SiteActivity(
                site=self._sites[path].site,
                layer=self._sites[path].owner,
                step=self._steps[path],
                inside=self._sites[path].inner_target is not None,
                active=sums.active.astype(int),
                samples=int(sums.rows),
                positive=sums.positive,
                negative=sums.negative,
                share=float(sums.not_positive.sum() / sums.elements.sum()),
            )
            for path, sums in totals.items()
        ]

    def _measure(self, tensors: list[Tensor]) -> dict[str, list[Tensor]]:
        """Measure one batch, for `BatchProbe`."""
        by_path: dict[str, list[_UnitSums]] = {}
        for call in _rectifier_calls(self._plan, list(self._sites.values()), tensors):
            path = call.located.site.path
            self._steps.setdefault(path, call.step)
            sums = _unit_sums(call.pre_activations, call.located.data_format)
            by_path.setdefault(path, []).append(sums)
        return {path: _counted(calls).as_list() for path, calls in by_path.items()}


@dataclass(frozen=True)
class _RectifierCall:
    """One call of a rectifier on a batch."""

    located: LocatedSite
    step: Step
    pre_activations: Tensor


@dataclass(frozen=True)
class _UnitSums:
    """Measurements of the units of one rectifier, on a batch or on all samples.

    Attributes:
        active: Array or tensor. For each unit, the number of samples on which it is active; before
            `counted`, for each sample and unit, whether the unit is active.
        positive: Array or tensor. For each unit, the sum of squares of its positive
            pre-activations.
        negative: Array or tensor. For each unit, the sum of squares of its negative
            pre-activations.
        not_positive: Array or tensor. For each unit, the number of pre-activations that are 0 or
            less.
        elements: Array or tensor. For each unit, the number of pre-activations.
        rows: Array or tensor of shape (). The number of samples.
    """

    active: Any
    positive: Any
    negative: Any
    not_positive: Any
    elements: Any
    rows: Any

    def as_list(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    def __add__(self, other: _UnitSums) -> _UnitSums:
        """Add the measurements of other samples."""
        return _UnitSums(
            *(one + two for one, two in zip(self.as_list(), other.as_list(), strict=True))
        )

    def joined(self, other: _UnitSums) -> _UnitSums:
        """Join two calls on the same samples.

        A layer that is called again, or whose model is called again, is one rectifier, and a unit
        is active if it is active in any call.
        """
        return _UnitSums(
            active=keras.ops.logical_or(self.active, other.active),
            positive=self.positive + other.positive,
            negative=self.negative + other.negative,
            not_positive=self.not_positive + other.not_positive,
            elements=self.elements + other.elements,
            rows=self.rows,
        )

    def counted(self) -> _UnitSums:
        """Count the samples on which each unit is active."""
        return replace(self, active=keras.ops.sum(keras.ops.cast(self.active, "int32"), axis=0))


def _counted(calls: Sequence[_UnitSums]) -> _UnitSums:
    """Return the counted measurements of all calls of a rectifier on a batch.

    Calls on equally many rows are taken as calls on the same samples.
    """
    joined: dict[int | None, _UnitSums] = {}
    for call in calls:
        rows = call.active.shape[0]
        joined[rows] = joined[rows].joined(call) if rows in joined else call
    first, *others = [sums.counted() for sums in joined.values()]
    for other in others:
        first = first + other
    return first


def _is_visible(located: LocatedSite) -> bool:
    """Return whether the pre-activations of a site can be measured.

    Those of a function that Python code calls, and those in the loop of a recurrent layer, can't.
    """
    if located.inner_target is None:
        return located.site.kind != "code"
    return id(located.owner) not in layers_in_loops(located.operation)


def _is_called_by(located: LocatedSite, step: Step) -> bool:
    """Return whether a step of the graph calls a site that is not inside a layer."""
    same = located.inner_target is None and located.operation is step.operation
    return same and (located.index == step.index or located.site.kind == "inline")


def _takes(located: LocatedSite, shape: Sequence[int | None]) -> bool:
    """Return whether, among the sites of one object, this is the one for tensors of a shape."""
    channels = shape[1 if located.data_format == "channels_first" else -1]
    return not located.shapes or (
        len(located.shapes[0]) == len(shape) and located.site.channels in (None, channels)
    )


def _rectifier_calls(
    plan: ExecutionPlan, sites: Sequence[LocatedSite], tensors: list[Tensor]
) -> Iterator[_RectifierCall]:
    """Run a plan on a batch, and yield the calls of rectifiers in execution order."""
    heard: list[tuple[LocatedSite, Tensor]] = []
    targets: list[HookTarget] = []
    inner_sites: dict[tuple[int, str], list[LocatedSite]] = {}
    graph_sites: dict[int, list[LocatedSite]] = {}
    for located in sites:
        target = located.inner_target
        if target is None:
            graph_sites.setdefault(id(located.operation), []).append(located)
        else:
            targets.append(target)
            inner_sites.setdefault(target.key, []).append(located)

    def hear(call: HookedCall) -> None:
        pre_activations = call.inputs
        takes = [site for site in inner_sites[call.target.key] if _takes(site, call.inputs.shape)]
        heard.extend((site, pre_activations) for site in takes[:1])

    with hook_seen_calls(targets, hear, tensors[0].shape[0]):
        for executed in iterate_steps(plan, tensors):
            step = executed.step
            for located, pre_activations in heard:
                yield _RectifierCall(located=located, step=step, pre_activations=pre_activations)
            heard.clear()
            for located in graph_sites.get(id(step.operation), []):
                if _is_called_by(located, step):
                    # The input of an inline activation is not a tensor of the graph. Its output is
                    # positive exactly where the input is.
                    inline = located.site.kind == "inline"
                    seen = executed.outputs[0] if inline else executed.inputs[0]
                    yield _RectifierCall(located=located, step=step, pre_activations=seen)
                    break


def _unit_sums(tensor: Tensor, data_format: str) -> _UnitSums:
    values = keras.ops.cast(tensor, "float32")
    channel = 1 if data_format == "channels_first" else len(values.shape) - 1
    positions = tuple(axis for axis in range(len(values.shape)) if axis not in (0, channel))
    # The count of one sample is exact in float32, and its sum over samples in integers.
    not_positive = keras.ops.cast(values <= 0, "float32")
    if positions:
        not_positive = keras.ops.sum(not_positive, axis=positions)
    not_positive = keras.ops.sum(keras.ops.cast(not_positive, "int32"), axis=0)
    sizes = keras.ops.shape(values)
    elements = math.prod([sizes[axis] for axis in (0, *positions)])
    return _UnitSums(
        active=(keras.ops.max(values, axis=positions) if positions else values) > 0,
        positive=_sum_of_squares(keras.ops.maximum(values, 0.0), (0, *positions)),
        negative=_sum_of_squares(keras.ops.minimum(values, 0.0), (0, *positions)),
        not_positive=not_positive,
        elements=keras.ops.ones_like(not_positive) * elements,
        rows=keras.ops.convert_to_tensor(sizes[0], dtype="int32"),
    )


def _sum_of_squares(values: Tensor, axis: tuple[int, ...]) -> Tensor:
    return keras.ops.sum(keras.ops.square(values), axis=axis)
