"""For each step of a converted model, what computes the original's value there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.custom_layers.converted_layer import is_converted, prelus
from keras_prelu.errors import CalibrationError
from keras_prelu.graph.cloning import copy_variables, rebuild
from keras_prelu.graph.plan import Program, Step, compile_program
from keras_prelu.layers import PReLU
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.site import LocatedSite

__all__ = ["References"]


class References:
    """The layers of a converted model matched with those of its original by path, or in their order
    where paths differ; its PReLUs with the rectifiers that they replaced.

    Raises:
        CalibrationError: A layer has no counterpart, or one with weights of other shapes: the
            models do not belong together.
    """

    def __init__(self, program: Program, original: keras.Model) -> None:
        self._name = original.name
        steps = compile_program(original).steps
        sites = [
            item for item in locate_sites(original) if item.held is None
        ]  # what is inside a layer is one step
        self._by_path = self._matched_by_path(program, steps, sites)
        if any(step.path not in self._by_path for step in program.steps):
            # Layers without a name of their own are called differently in a model that is built
            # anew by its class.
            self._by_path = _matched_in_order(program, steps, sites) or self._by_path
        for step in program.steps:
            self._check(step)

    @staticmethod
    def _matched_by_path(
        program: Program, steps: Sequence[Step], sites: Sequence[LocatedSite]
    ) -> dict[str, Any]:
        converted = {step.path: step.operation for step in program.steps}
        by_path: dict[str, Any] = {step.path: step.operation for step in steps}
        for item in sites:
            if not isinstance(converted.get(item.site.target), PReLU):
                continue  # left out of the conversion
            if item.site.kind == "inline":
                by_path[item.site.target] = item.operation.activation
                by_path[item.site.path] = _linear_twin(item.operation)
            else:
                by_path[item.site.target] = item.operation
        return by_path

    def get(self, step: Step) -> Any:
        """The original's layer, op or activation function for a step of the converted model."""
        return self._by_path[step.path]

    def same_function(self, step: Step) -> bool:
        """Whether a step computes what the original does: it is no PReLU, and its weights are
        equal."""
        if isinstance(step.operation, PReLU) or len(prelus(step.operation)) != len(
            prelus(self.get(step))
        ):
            return False
        pairs = zip(
            getattr(step.operation, "weights", []),
            getattr(self.get(step), "weights", []),
            strict=True,
        )
        return all(
            np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
            for a, b in pairs
        )

    def _check(self, step: Step) -> None:
        reference, operation = self._by_path.get(step.path), step.operation
        if isinstance(operation, PReLU) and reference is not None:
            return
        if reference is None or _written_class(reference) is not _written_class(operation):
            raise CalibrationError(
                f"The converted model was not made from this original: layer '{step.path}'"
                f" ({type(operation).__name__}) has no counterpart in '{self._name}'."
            )
        if _shapes_of_weights(operation) != _shapes_of_weights(reference):
            raise CalibrationError(
                "The converted model was not made from this original: the weights of layer"
                f" '{step.path}' differ in shape."
            )


def _matched_in_order(
    program: Program, steps: Sequence[Step], sites: Sequence[LocatedSite]
) -> dict[str, Any] | None:
    """Both models' steps in the order of their execution, side by side; None where they don't
    fit."""
    matched: dict[str, Any] = {}
    kinds = {id(item.operation): item.site.kind for item in sites}
    waiting = list(reversed(program.steps))
    for step in steps:
        if not waiting:
            return None
        other, kind = waiting.pop(), kinds.get(id(step.operation))
        follows = bool(waiting) and isinstance(waiting[-1].operation, PReLU)
        if kind == "inline" and follows and _same_kind(other, step):
            matched[other.path] = _linear_twin(step.operation)
            matched[waiting.pop().path] = step.operation.activation
        elif _same_kind(other, step) or (kind is not None and isinstance(other.operation, PReLU)):
            matched[other.path] = step.operation
        else:
            return None
    return None if waiting else matched


def _same_kind(first: Step, second: Step) -> bool:
    same_class = _written_class(first.operation) is _written_class(second.operation)
    return same_class and _shapes_of_weights(first.operation) == _shapes_of_weights(
        second.operation
    )


def _written_class(operation: Any) -> type:
    """The class that the user wrote."""
    return operation.converted_from if is_converted(operation) else type(operation)


def _shapes_of_weights(operation: Any) -> list[tuple[int, ...]]:
    """Of an operation's weights, the slopes inside it left out."""
    slopes = {id(variable) for layer in prelus(operation) for variable in layer.variables}
    return [
        tuple(variable.shape)
        for variable in getattr(operation, "weights", [])
        if id(variable) not in slopes
    ]


def _linear_twin(layer: Any) -> Any:
    """The layer without its inline activation, on copies of its weights."""
    twin = rebuild(layer, linear=True)
    twin.build_from_config(layer.get_build_config())
    copy_variables(layer, twin)
    return twin
