"""Execution of a plan with a hook on the calls of chosen layers, including those in custom layers.

A custom layer is a layer with Python code of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.graph.hooks import HookedCall, HookTarget, hook_seen_calls
from keras_prelu.graph.interpreter import run_plan
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.typing import Tensor

__all__ = ["LayerCall", "layers_in_loops", "run_with_hook"]


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, with the tensors of one batch.

    Attributes:
        path: String. Path of the step; inside a layer with Python code of its own, the step's path
            and the name of the inner layer, joined by "/". Later calls on the same path have
            `#2`, `#3`, … appended.
        layer: Layer.
        inputs: Tensor. What the layer reads; the first tensor if it reads several.
        outputs: Tensor. What the layer returns; the first tensor if it returns several.
    """

    path: str
    layer: Any
    inputs: Tensor
    outputs: Tensor


def layers_in_loops(layer: Any) -> set[int]:
    """Return the ids of the layers inside `layer` that run in the loop of a recurrent layer.

    The recurrent layers themselves are included. Tensors inside a compiled loop can't be used
    outside of it.
    """
    inner_layers = sublayers(layer)
    if isinstance(layer, keras.layers.RNN):
        return {id(inner) for inner in inner_layers}
    recurrent = [inner for inner in inner_layers if isinstance(inner, keras.layers.RNN)]
    cells = [part for inner in recurrent for part in sublayers(inner)]
    return {id(part) for part in (*recurrent, *cells)}


def run_with_hook(
    plan: ExecutionPlan,
    inputs: Sequence[Tensor],
    selects: Callable[[Any], bool],
    hook: Callable[[LayerCall], Tensor | None],
) -> list[Tensor]:
    """Run a plan on one batch, and call a hook after each call of some layers.

    Args:
        plan: `ExecutionPlan`.
        inputs: Sequence of tensors, one for each of the plan's inputs.
        selects: Callable. Takes a layer or op and returns whether to hook its calls. Left out are
            layers that a recurrent layer runs in a loop, and calls that `hook_seen_calls` leaves
            alone.
        hook: Callable. Gets a `LayerCall`. A tensor that it returns replaces the outputs for the
            steps that follow; None leaves the outputs unchanged.

    Returns:
        A list of tensors, one for each of the plan's outputs.
    """
    runner = _HookedSteps(selects, hook, rows=inputs[0].shape[0])
    return run_plan(plan, inputs, runner.run_step)


class _HookedSteps:
    """Runs the steps of a plan on one batch with a hook; numbers the calls on the same path."""

    def __init__(
        self,
        selects: Callable[[Any], bool],
        hook: Callable[[LayerCall], Tensor | None],
        rows: int | None,
    ) -> None:
        self._selects = selects
        self._hook = hook
        self._rows = rows
        self._calls: Counter[str] = Counter()

    def run_step(self, step: Step, values: Mapping[Slot, Tensor]) -> list[Tensor]:
        if not self._selects(step.operation):
            return self._run_hooked_inside(step, values)
        first, *others = step.execute(values)
        return [self._heard(step.path, step.operation, values[step.inputs[0]], first), *others]

    def _run_hooked_inside(self, step: Step, values: Mapping[Slot, Tensor]) -> list[Tensor]:
        excluded = layers_in_loops(step.operation)
        inner_layers = {
            id(layer): layer
            for layer in sublayers(step.operation)
            if self._selects(layer) and id(layer) not in excluded
        }
        names = _unique_names(inner_layers)

        def hear(call: HookedCall) -> Tensor:
            layer = call.target.owner
            return self._heard(f"{step.path}/{names[id(layer)]}", layer, call.inputs, call.outputs)

        if not inner_layers:
            return step.execute(values)
        targets = [HookTarget(layer) for layer in inner_layers.values()]
        with hook_seen_calls(targets, hear, self._rows):
            return step.execute(values)

    def _heard(self, path: str, layer: Any, inputs: Tensor, outputs: Tensor) -> Tensor:
        self._calls[path] += 1
        if self._calls[path] > 1:
            path = f"{path}#{self._calls[path]}"
        replacement = self._hook(LayerCall(path=path, layer=layer, inputs=inputs, outputs=outputs))
        return outputs if replacement is None else replacement


def _unique_names(layers: Mapping[int, Any]) -> dict[int, str]:
    """Return a unique name for each layer, by its id.

    Different layers inside a layer may have the same name.
    """
    taken: Counter[str] = Counter()
    names = {}
    for key, layer in layers.items():
        taken[layer.name] += 1
        names[key] = layer.name if taken[layer.name] == 1 else f"{layer.name}.{taken[layer.name]}"
    return names
