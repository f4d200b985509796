"""Checks that a copy of a model shares its variables as the model does, and none with the model."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.backend.variables import is_value_of
from keras_prelu.errors import ConversionError
from keras_prelu.graph.function_values import referred_to
from keras_prelu.graph.held_functions import held_functions
from keras_prelu.graph.shared_layers import leaf_operations

__all__ = ["VariableArguments", "VariableCopies", "VariableOwners", "refuse_functions_of_model"]


class VariableOwners:
    """The layers of a model that have its variables.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._variables = model.variables
        self._owners: dict[int, Any] = {}
        for operation in leaf_operations(model):
            for variable in getattr(operation, "variables", ()):
                self._owners.setdefault(id(variable), operation)

    def owner(self, variable: Any) -> Any:
        """Return the layer of the graph that has a variable, or None.

        A variable of no layer is a constant, which no training of the model changes.
        """
        return self._owners.get(id(variable))

    def refuse_value(self, tensor: Any, operation: Any) -> None:
        """Check that a constant in a graph is not the value of one of the model's variables.

        Raises:
            ConversionError: It is: which variable a copy would use is not known.
        """
        for variable in self._variables:
            if is_value_of(tensor, variable):
                raise ConversionError(
                    f"Operation '{operation.name}' ({type(operation).__name__}) is called with the"
                    f" value of the variable '{variable.path}', which a new model would go on"
                    " using. Call it with the variable itself, such as `layer.kernel`, or write"
                    " what it computes as a layer that holds the layer of the variable"
                )


class VariableArguments:
    """The variables of layers with which the operations of a copy are called."""

    def __init__(self) -> None:
        self._used: list[tuple[Any, Any, Any]] = []

    def add(self, operation: Any, owner: Any, variable: Any) -> None:
        """Add a variable.

        Args:
            operation: Op that is called with it.
            owner: Layer of the original that has the variable.
            variable: `keras.Variable`. Its copy.
        """
        self._used.append((operation, owner, variable))

    def refuse_lost(self, copy: keras.Model) -> None:
        """Check that a copy has the variables: that their layers were not replaced.

        Raises:
            ConversionError: One was.
        """
        present = {id(variable) for variable in copy.variables}
        for operation, owner, variable in self._used:
            if id(variable) not in present:
                raise ConversionError(
                    f"{_described(owner)} can't be replaced: operation '{operation.name}'"
                    f" ({type(operation).__name__}) is called with its variable"
                    f" '{variable.path}'. Write what that operation computes as a layer that holds"
                    f" '{owner.name}'"
                )


class VariableCopies:
    """The copies of the variables of a model."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Any, Any]] = {}  # Copy and layer, by the original's id.
        self._originals: dict[int, Any] = {}  # By the id of the copy.

    def add(self, layer: Any, sources: Sequence[Any], targets: Sequence[Any]) -> None:
        """Add the variables of a layer, in the order of their copies.

        Raises:
            ConversionError: The copies are not shared with another layer's as the variables are, or
                are the model's own.
        """
        for source, target in zip(sources, targets, strict=True):
            if target is source:
                raise ConversionError(
                    f"{_described(layer)} can't be copied: its copy has the same variable"
                    f" '{source.path}', so that training one model would change the other. Create"
                    " the variable in its build()"
                )
            known, first = self._copies.setdefault(id(source), (target, layer))
            original = self._originals.setdefault(id(target), source)
            if known is not target or original is not source:
                raise ConversionError(
                    f"'{first.name}' ({type(first).__name__}) and '{layer.name}'"
                    f" ({type(layer).__name__}) share the variable '{source.path}', and would have"
                    " one each in a new model. Hold the layer with the variable in an attribute"
                    f" that the __init__ of {type(layer).__name__} sets and its get_config()"
                    " describes"
                )

    def refuse_replaced(self, operations: Iterable[Any]) -> None:
        """Check that no copy has variables of a layer that is replaced.

        Raises:
            ConversionError: A copy has.
        """
        for operation in operations:
            for variable in getattr(operation, "variables", ()):
                user = self._copies.get(id(variable), (None, operation))[1]
                if user is not operation:
                    raise ConversionError(
                        f"{_described(operation)} can't be replaced: '{user.name}'"
                        f" ({type(user).__name__}) uses its variable '{variable.path}' too"
                    )


def refuse_functions_of_model(model: keras.Model, copies: Iterable[tuple[Any, Any]]) -> None:
    """Check that no copy of a layer applies a function that refers to layers of the model.

    Args:
        model: `keras.Model`. The original.
        copies: Iterable of pairs of a layer and its copy.

    Raises:
        ConversionError: A function does.
    """
    layers = {id(each): each for each in sublayers(model) if each.variables}
    variables = {id(variable) for variable in model.variables}
    for original, copy in copies:
        for function in _functions(copy):
            for value in referred_to(function):
                if id(value) in layers or id(value) in variables:
                    kind = "layer" if id(value) in layers else "variable"
                    raise ConversionError(
                        f"{_described(original)} applies a function that refers to the {kind}"
                        f" '{value.name}' of the model, whose weights a new model would go on"
                        " using. Write the function as a layer that gets and holds the layer in"
                        " its __init__, and has a get_config()"
                    )


def _functions(layer: Any) -> Iterator[Callable[..., Any]]:
    """Yield the functions that a layer and those inside it hold, and `call` of users' classes."""
    for _, function in held_functions(layer):
        yield function
    for each in (layer, *sublayers(layer)):
        cls: Any = getattr(each, "converted_from", type(each))
        if not cls.__module__.startswith("keras.") and isinstance(cls.call, types.FunctionType):
            yield types.MethodType(cls.call, each)


def _described(layer: Any) -> str:
    return f"Layer '{layer.name}' ({type(layer).__name__})"
