"""Calls of a layer with Python code, and of the rectifiers inside, on symbolic tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.code_calls import CodeCalls
from keras_prelu.custom_layers.held_rectifiers import HeldRectifier, find_held_rectifiers
from keras_prelu.custom_layers.tracing import RectifierCall, trace_calls
from keras_prelu.data.declarations import declares_inputs
from keras_prelu.errors import reason_of
from keras_prelu.graph import functional
from keras_prelu.graph.parts import is_container, parts_of
from keras_prelu.verification.prediction import shapes_at_build

__all__ = ["Arguments", "Trace", "arguments_at_build", "is_function"]

_MOST_GUESSES = 32
_NEVER_CALLED = (
    "it is not known what the layer is called with: call it once on data, or call its `build` with"
    " the shape of the data"
)


@dataclass(frozen=True)
class Arguments:
    """The arguments that a layer is called with."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Trace:
    """Observations of the rectifiers inside a layer that is called on symbolic tensors.

    Attributes:
        calls: List of `RectifierCall`.
        arguments: `Arguments`. The first that the layer could be called with, or None.
        failure: String. Why something is not observed, or "".
    """

    def __init__(
        self,
        layer: Any,
        uses: Sequence[Sequence[Arguments]],
        rectifiers: Sequence[HeldRectifier],
    ) -> None:
        self.calls: list[RectifierCall] = []
        self.arguments: Arguments | None = None
        self.failure = "" if uses else _NEVER_CALLED
        self._rectifiers = rectifiers
        self._with_code = {
            id(held.owner.layer) for held in rectifiers if isinstance(held.owner, CodeCalls)
        }
        self._in_graph = {id(held.owner): held for held in rectifiers if not is_function(held)}
        for alternatives in uses:
            failure = self._trace_first(layer, alternatives)
            self.failure = self.failure or failure

    def calls_of(self, held: HeldRectifier) -> list[RectifierCall]:
        return [call for call in self.calls if call.held.address == held.address]

    def _trace_first(self, layer: Any, alternatives: Sequence[Arguments]) -> str:
        """Trace a layer with the first arguments that it takes.

        Returns:
            The reason if something is not observed.
        """
        first_failure = ""
        for arguments in alternatives:
            count = len(self.calls)
            failure = self._trace(layer, arguments)
            if len(self.calls) > count or not failure:
                self.arguments = self.arguments or arguments
                return failure
            first_failure = first_failure or failure
        return first_failure

    def _trace(self, layer: Any, arguments: Arguments) -> str:
        """Trace a layer with the given arguments.

        A graph is not called: its calls already have shapes, and one layer in it that fails does
        not affect the others.

        Returns:
            The reason if something is not observed.
        """
        if functional.has_graph(layer):
            return self._trace_graph(layer)
        try:
            self.calls += trace_calls(layer, arguments.args, arguments.kwargs, self._rectifiers)
        except Exception as error:  # Whatever the user's code raises.
            return (
                f"layer '{layer.name}' ({type(layer).__name__}) can't be called on symbolic"
                f" tensors: {reason_of(error)}"
            )
        return ""

    def _trace_graph(self, model: keras.Model) -> str:
        failure = ""
        for call in functional.calls(model):
            held = self._in_graph.get(id(call.operation))
            if held is not None:
                self.calls.append(RectifierCall.from_graph(held, call))
            elif find_held_rectifiers(call.operation) or self._is_code_inside(call.operation):
                reason = self._trace(call.operation, Arguments(call.args, call.kwargs))
                failure = failure or reason
        return failure

    def _is_code_inside(self, operation: Any) -> bool:
        """Return whether code of an operation, or of a layer inside it, calls a rectifier."""
        return bool(self._with_code) and any(
            id(layer) in self._with_code for layer in (operation, *sublayers(operation))
        )


def arguments_at_build(model: keras.Model) -> Iterator[Arguments]:
    """Yield the arguments that a model may have been built with.

    Keras keeps only the shapes; floats are guessed before integers. Those of a model without a
    `call` are one for each part, see `callable_form`.
    """
    if is_container(model):
        alternatives = [list(_arguments_of_part(part)) for part in parts_of(model)]
        for chosen in itertools.islice(itertools.product(*alternatives), _MOST_GUESSES):
            yield Arguments(([[list(each.args), dict(each.kwargs)] for each in chosen],), {})
        return
    if declares_inputs(model):  # A functional model with a `call` of its own.
        yield Arguments((functional.detached(model.input),), {})
        return
    shape, by_argument = shapes_at_build(model)
    shapes = shape or by_argument
    if not shapes:
        return
    count = len(keras.tree.flatten(_tensors(shapes, itertools.repeat("float32"))))
    guesses = itertools.product((keras.config.floatx(), "int32"), repeat=count)
    for dtypes in itertools.islice(guesses, _MOST_GUESSES):
        tensors = _tensors(shapes, iter(dtypes))
        yield Arguments((tensors,), {}) if shape else Arguments((), tensors)


def _arguments_of_part(part: Any) -> Iterator[Arguments]:
    if functional.has_graph(part):
        yield Arguments((functional.detached(functional.functional_view(part).input),), {})
    else:
        yield from arguments_at_build(part)


def _tensors(shapes: Any, dtypes: Iterator[str]) -> Any:
    """Return symbolic tensors in the structure of shapes that Keras writes.

    A shape is a sequence of sizes.
    """
    if isinstance(shapes, Mapping):
        return {key: _tensors(shape, dtypes) for key, shape in shapes.items()}
    if any(isinstance(item, (Sequence, Mapping)) for item in shapes):
        return [_tensors(shape, dtypes) for shape in shapes]
    return keras.KerasTensor(tuple(shapes), dtype=next(dtypes))


def is_function(held: HeldRectifier) -> bool:
    return held.rectifier.kind == "function"
