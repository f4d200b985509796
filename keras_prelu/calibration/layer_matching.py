"""Matching the steps of a converted model with the operations of its original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import keras_mask, set_keras_mask
from keras_prelu.custom_layers.converted_layer import is_converted, prelus
from keras_prelu.errors import CalibrationError
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.graph.rebuilding import copy_variables, rebuild
from keras_prelu.layers import PReLU
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Tensor

__all__ = ["OriginalCall", "WrittenCall", "match_layers"]


class OriginalCall:
    """A call of an op in the original, with all its arguments, as a function of its one tensor.

    A PReLU is called with a tensor alone, while the op that it replaces may be called with numbers
    too, as in `keras.ops.maximum(x, 0)`.

    Args:
        step: `Step` of the original. It reads one tensor.
    """

    def __init__(self, step: Step) -> None:
        self._step = step

    def __call__(self, inputs: Tensor) -> Any:
        (output,) = self._step.execute({self._step.inputs[0]: inputs})
        return output


class WrittenCall:
    """A rectifier that several ops of the original compute, as a function of one tensor.

    Args:
        slope: Float. Its slope for negative numbers.
    """

    def __init__(self, slope: float) -> None:
        self._slope = slope

    def __call__(self, inputs: Tensor) -> Tensor:
        return keras.ops.where(inputs > 0, inputs, self._slope * inputs)


class InlineActivation:
    """The activation of a layer as a step of its own, which passes on the mask that it gets.

    Args:
        activation: Callable that takes a tensor.
    """

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        self._activation = activation

    def __call__(self, inputs: Tensor) -> Tensor:
        outputs = self._activation(inputs)
        mask = keras_mask(inputs)
        if mask is not None and outputs is not inputs:
            set_keras_mask(outputs, mask)
        return outputs


def match_layers(
    plan: ExecutionPlan, original: keras.Model, sites: Sequence[LocatedSite]
) -> dict[str, Any]:
    """Match the layers of a converted model with those of its original.

    They are matched by path, or in the order of execution if paths differ.

    Args:
        plan: `ExecutionPlan` of the converted model.
        original: `keras.Model`. The original model, with a graph.
        sites: Sequence of `LocatedSite`. The sites of the original.

    Returns:
        A dict from the path of a step to the layer, op or activation function that computes the
        same value in the original. For a PReLU it is the rectifier that the PReLU replaced, an op
        as an `OriginalCall`, several ops as a `WrittenCall` and the activation of a layer as an
        `InlineActivation`; for a layer that lost its inline activation it is a copy of the
        original's without the activation.

    Raises:
        CalibrationError: A layer has no counterpart, or a counterpart with weights of other shapes:
            the models do not belong together.
    """
    steps = compile_plan(original).steps
    # A layer with Python code of its own is one step, whatever sites are inside.
    graph_sites = [located for located in sites if located.held is None]
    counterparts = _match_by_path(plan, steps, graph_sites)
    if any(step.path not in counterparts for step in plan.steps):
        # Layers without a name of their own get other names in a model that its class builds
        # again.
        counterparts = _match_in_order(plan, steps, graph_sites) or counterparts
    for step in plan.steps:
        _check_match(step, counterparts.get(step.path), original.name)
    return counterparts


def _match_by_path(
    plan: ExecutionPlan, steps: Sequence[Step], sites: Sequence[LocatedSite]
) -> dict[str, Any]:
    converted = {step.path: step.operation for step in plan.steps}
    counterparts: dict[str, Any] = {step.path: step.operation for step in steps}
    calls = {(id(step.operation), step.index): step for step in steps}
    for located in sites:
        site, operation = located.site, located.operation
        if not isinstance(converted.get(site.target), PReLU):
            continue  # The site was left out of the conversion.
        if site.kind == "inline":
            counterparts[site.target] = InlineActivation(operation.activation)
            counterparts[site.path] = _without_activation(operation)
        else:
            step = calls[id(operation), located.index]
            counterparts[site.target] = (
                WrittenCall(site.negative_slope or 0.0)
                if located.is_written
                else _rectifier_of(step)
            )
    return counterparts


def _rectifier_of(step: Step) -> Any:
    """Return what computes a step that a PReLU replaces: its layer, or the call of its op."""
    is_layer = isinstance(step.operation, keras.layers.Layer)
    return step.operation if is_layer else OriginalCall(step)


def _match_in_order(
    plan: ExecutionPlan, steps: Sequence[Step], sites: Sequence[LocatedSite]
) -> dict[str, Any] | None:
    """Match the steps of both models in order; return None if they don't correspond."""
    counterparts: dict[str, Any] = {}
    kinds = {id(located.operation): located.site.kind for located in sites}
    unmatched = list(reversed(plan.steps))
    for step in steps:
        if not unmatched:
            return None
        candidate, kind = unmatched.pop(), kinds.get(id(step.operation))
        follower = unmatched[-1] if unmatched else None
        if kind == "inline" and _is_prelu(follower) and _same_kind(candidate, step):
            counterparts[candidate.path] = _without_activation(step.operation)
            counterparts[unmatched.pop().path] = InlineActivation(step.operation.activation)
        elif _same_kind(candidate, step):
            counterparts[candidate.path] = step.operation
        elif kind is not None and _is_prelu(candidate):
            counterparts[candidate.path] = _rectifier_of(step)
        else:
            return None
    return None if unmatched else counterparts


def _check_match(step: Step, counterpart: Any, original_name: str) -> None:
    operation = step.operation
    if isinstance(operation, PReLU) and counterpart is not None:
        return
    if counterpart is None or _original_class(counterpart) is not _original_class(operation):
        raise CalibrationError(
            f"The converted model was not made from this original: layer '{step.path}'"
            f" ({type(operation).__name__}) has no counterpart in '{original_name}'."
        )
    if _weight_shapes(operation) != _weight_shapes(counterpart):
        raise CalibrationError(
            "The converted model was not made from this original: the weights of layer"
            f" '{step.path}' differ in shape."
        )


def _is_prelu(step: Step | None) -> bool:
    return step is not None and isinstance(step.operation, PReLU)


def _same_kind(first: Step, second: Step) -> bool:
    return _original_class(first.operation) is _original_class(second.operation) and _weight_shapes(
        first.operation
    ) == _weight_shapes(second.operation)


def _original_class(operation: Any) -> type:
    """Return the class of an operation before it was converted."""
    return operation.converted_from if is_converted(operation) else type(operation)


def _weight_shapes(operation: Any) -> list[tuple[int, ...]]:
    """Return the shapes of an operation's weights, except for slopes."""
    slopes = {id(variable) for layer in prelus(operation) for variable in layer.variables}
    return [
        tuple(variable.shape)
        for variable in getattr(operation, "weights", [])
        if id(variable) not in slopes
    ]


def _without_activation(layer: Any) -> Any:
    """Return a copy of a layer without its inline activation."""
    copy = rebuild(layer, linear=True)
    copy.build_from_config(layer.get_build_config())
    copy_variables(layer, copy)
    return copy
