"""The calls of the rectifiers of a model while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.layer_calls import layers_in_loops
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Tensor

__all__ = ["RectifierCall", "RectifierRun"]


@dataclass(frozen=True)
class RectifierCall:
    """One call of a rectifier on a batch.

    Attributes:
        located: `LocatedSite`. The rectifier.
        step: `Step`. The call, in the model, of the rectifier or of the layer with Python code of
            its own that holds the rectifier.
        pre_activations: Tensor. What it reads; of a rectifier of the graph that is inline or that
            several operations compute, whose pre-activations are not what a step reads, its
            outputs, which are positive exactly where the pre-activations are.
        outputs: Tensor. What it returns.
    """

    located: LocatedSite
    step: Step
    pre_activations: Tensor
    outputs: Tensor


class RectifierRun:
    """Runs a model and hears the calls of its rectifiers.

    Args:
        model: `keras.Model`, with nested models, and layers and models with Python code of their
            own. Inside such code, some rectifiers are not seen and left out: functions in code
            that can't be followed, and those that run in a loop, in a branch or in other code that
            the backend traces by itself.
        x: Array, or structure of arrays. Samples that the model can be called with, which are
            needed for one that does not declare its inputs.

    Attributes:
        graph: `keras.Model` with declared inputs.
        paths: Tuple of strings. The paths of all sites of the model, seen or not.
        sites: Dict from the paths of the sites that can be seen to `LocatedSite`.
        steps: Dict from the path of a site to the first `Step` that called it. Filled by the first
            run.
    """

    def __init__(self, model: keras.Model, x: Any) -> None:
        self.graph = with_declared_inputs(model, x)
        self._plan = compile_plan(self.graph)
        located_sites = locate_sites(model)
        self.paths = tuple(located.site.path for located in located_sites)
        self.sites = {each.site.path: each for each in located_sites if _is_visible(each)}
        self.steps: dict[str, Step] = {}

    def calls(self, tensors: list[Tensor]) -> Iterator[RectifierCall]:
        """Run the model on a batch, and yield the calls of rectifiers in execution order.

        Tensors that the caller does not keep can be freed before the next call.
        """
        for call in _rectifier_calls(self._plan, list(self.sites.values()), tensors):
            self.steps.setdefault(call.located.site.path, call.step)
            yield call


def _is_visible(located: LocatedSite) -> bool:
    """Return whether the pre-activations of a site can be measured.

    Those of a function in code that can't be followed can't, nor those in the loop of a recurrent
    layer.
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
) -> Iterator[RectifierCall]:
    """Run a plan on a batch, and yield the calls of rectifiers in execution order."""
    heard: list[tuple[LocatedSite, HookedCall]] = []
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
        takes = [site for site in inner_sites[call.target.key] if _takes(site, call.inputs.shape)]
        heard.extend((site, call) for site in takes[:1])

    with hook_seen_calls(targets, hear, tensors[0].shape[0]):
        for executed in iterate_steps(plan, tensors):
            step = executed.step
            for located, call in heard:
                yield RectifierCall(
                    located=located, step=step, pre_activations=call.inputs, outputs=call.outputs
                )
            heard.clear()
            for located in graph_sites.get(id(step.operation), []):
                if _is_called_by(located, step):
                    outputs = executed.outputs[0]
                    is_inside = located.site.kind == "inline" or located.is_written
                    yield RectifierCall(
                        located=located,
                        step=step,
                        pre_activations=outputs if is_inside else executed.inputs[0],
                        outputs=outputs,
                    )
                    break
