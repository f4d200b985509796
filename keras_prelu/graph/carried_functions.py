"""Carrying the functions that a layer applies over to its rebuilt copy.

A configuration can't hold a function. Keras writes the function's name, which is also the name of
other functions; the bytecode of a lambda, which is not read back by default; or nothing, with an
error, for a `functools.partial`. While a layer is copied, its functions are at hand.
"""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from keras_prelu.backend.keras_internals import own_attributes, sublayers
from keras_prelu.graph.function_values import referred_to
from keras_prelu.graph.held_functions import (
    held_functions,
    is_activation_of_keras,
    is_plain_function,
)
from keras_prelu.graph.hooks import HookTarget, attributes_set, set_target
from keras_prelu.graph.measurement import compute_the_same
from keras_prelu.graph.sublayer_addresses import SublayerAddress, layers_by_address

__all__ = ["CarriedFunctions", "carried_activations"]

_Address = tuple[SublayerAddress, str, tuple[Any, ...]]
"""Address of the sublayer, attribute and keys."""


class CarriedFunctions:
    """The functions that a layer holds, and their places in a copy.

    Args:
        layer: Layer or op.
        left_out: Sequence of strings. Attributes of the layer that its copy does not need.
    """

    def __init__(self, layer: Any, left_out: Sequence[str]) -> None:
        self._layer = layer
        self._targets = {
            address: target
            for address, target in _addressed(layer)
            if not (address[0] == () and address[1] in left_out)
        }
        self._functions = {address: target.value for address, target in self._targets.items()}
        self._layers = [
            target
            for target in carried_activations(layer)
            if target.key not in {(id(layer), name, ()) for name in left_out}
        ]
        self._unnamed = self._layers + [
            target
            for target in _unnamed_objects(layer)
            if target.key not in {(id(layer), name, ()) for name in left_out}
        ]
        self._unnamed += [
            target
            for address, target in self._targets.items()
            if not is_activation_of_keras(self._functions[address])
        ]
        self._left_out = [HookTarget(layer, name) for name in left_out]

    @property
    def lack_names(self) -> bool:
        """Whether some of the functions have no name that is theirs alone in a configuration."""
        return bool(self._unnamed)

    def carries(self, layer: Any) -> bool:
        """Return whether a layer is the activation of another, and goes into the copy itself."""
        return any(target.value is layer for target in self._layers)

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Set the attributes that are left out to the linear activation, inside the context."""
        with attributes_set(self._left_out, keras.activations.linear):
            yield

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Drop Keras's warning that a lambda is not safe in a file, inside the context."""
        with warnings.catch_warnings():
            if self._unnamed:
                warnings.filterwarnings("ignore", message=r"(?s).*includes a `lambda`")
            yield

    @contextmanager
    def named(self) -> Iterator[Callable[[Any], Any]]:
        """Give each function a name of its own in configurations, inside the context.

        `keras.saving` finds the functions by these names.

        Yields:
            A function that returns a configuration with the functions themselves in place of those
            that stand for them, for classes that write what they hold into it.
        """
        placeholders = [
            _placeholder(f"keras_prelu_function_{i}") for i in range(len(self._unnamed))
        ]
        by_placeholder = {
            placeholder: target.value
            for placeholder, target in zip(placeholders, self._unnamed, strict=True)
        }
        by_name = {
            placeholder.__name__: function for placeholder, function in by_placeholder.items()
        }
        with contextlib.ExitStack() as undo:
            undo.enter_context(keras.saving.custom_object_scope(by_name))
            in_place = undo.enter_context(contextlib.ExitStack())
            for placeholder, target in zip(placeholders, self._unnamed, strict=True):
                in_place.callback(set_target(target, placeholder))

            def unnamed(config: Any) -> Any:
                in_place.close()
                return _exchanged(config, by_placeholder)

            yield unnamed

    def carry_to_keras_layers(self, copy: Any) -> None:
        """Give the layers of Keras in a copy the functions that have no state."""
        for address, target in _addressed_any(copy, self._functions):
            function = self._functions[address]
            is_keras_layer = type(target.owner).__module__.startswith("keras.")
            if (
                is_keras_layer
                and target.value is not function
                and is_plain_function(function)
                and not _is_own(function, target.value)
            ):
                set_target(target, function)

    def carry(self, copy: Any) -> None:
        """Give a copy the functions, and objects, that it has others for."""
        for address, target in _addressed_any(copy, self._functions):
            function = self._functions[address]
            if not _is_same(function, target.value):
                set_target(target, function)

    def are_in(self, copy: Any) -> bool:
        """Return whether a copy applies the same functions, as far as that can be measured."""
        return not self.first_missing(copy)

    def first_missing(self, copy: Any) -> str:
        """Return the first attribute of a copy that holds another function, or ""."""
        for address, target in _addressed_any(copy, self._functions):
            if not _is_same(self._functions[address], target.value):
                keys = "".join(f"[{key!r}]" for key in target.keys)
                return f"'{target.attribute}{keys}'"
        return ""


def _addressed(layer: Any) -> Iterator[tuple[_Address, HookTarget]]:
    addresses = {id(owner): address for address, owner in layers_by_address(layer).items()}
    for target, _ in held_functions(layer):
        # An InputLayer has no address.
        if id(target.owner) in addresses:
            yield (addresses[id(target.owner)], target.attribute, target.keys), target


def carried_activations(layer: Any) -> Iterator[HookTarget]:
    """Yield the activations that are layers without variables, which a layer and its copy share.

    What applies them holds them as it holds a function.
    """
    for owner in (layer, *sublayers(layer)):
        activation: Any = getattr(owner, "activation", None)
        is_keras_layer = type(owner).__module__.startswith("keras.")
        is_layer = isinstance(activation, keras.layers.Layer)
        if is_keras_layer and is_layer and not activation.variables:
            yield HookTarget(owner, "activation")


def _unnamed_objects(layer: Any) -> Iterator[HookTarget]:
    """Yield the regularizers and constraints of Keras's layers that are not Keras's own."""
    for owner in (layer, *sublayers(layer)):
        if not type(owner).__module__.startswith("keras."):
            continue
        of_keras = getattr(owner, "activity_regularizer", None)
        attributes = [*own_attributes(owner), ("activity_regularizer", of_keras)]
        for name, value in attributes:
            is_regularizer = name == "activity_regularizer" and callable(value)
            is_object = isinstance(value, (keras.Regularizer, keras.constraints.Constraint))
            if (is_regularizer or is_object) and not type(value).__module__.startswith("keras."):
                yield HookTarget(owner, name)


def _addressed_any(layer: Any, addresses: Any) -> Iterator[tuple[_Address, HookTarget]]:
    """Yield the targets at addresses of another layer, as far as this one has them."""
    owners = layers_by_address(layer)
    for address in addresses:
        owner, attribute, keys = address
        if owner in owners:
            target = HookTarget(owners[owner], attribute, keys)
            try:
                value = target.value
            except (AttributeError, IndexError, KeyError, TypeError):
                continue
            if callable(value) and not isinstance(value, keras.Operation):
                yield address, target


def _is_same(first: Any, second: Any) -> bool:
    """Return whether a function and its counterpart in a copy are the same."""
    if first is second or _is_own(first, second):
        return True
    same = compute_the_same(first, second)
    if same is None:  # Neither can be measured.
        return _have_same_code(first, second) or (
            type(first) is type(second) is not types.FunctionType
        )
    return same


def _is_own(first: Any, second: Any) -> bool:
    """Return whether each layer has made its own function, which refers to that layer.

    The values of such a function depend on variables, which are copied later.
    """
    return _have_same_code(first, second) and any(
        isinstance(value, (keras.Operation, keras.Variable)) for value in referred_to(first)
    )


def _have_same_code(first: Any, second: Any) -> bool:
    codes = [getattr(getattr(f, "__func__", f), "__code__", None) for f in (first, second)]
    return codes[0] is not None and codes[0] is codes[1]


def _placeholder(name: str) -> Callable[..., Any]:
    def placeholder(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{name} only stands for a function in a configuration.")

    placeholder.__name__ = placeholder.__qualname__ = name
    return placeholder


def _exchanged(config: Any, by_placeholder: dict[Any, Any]) -> Any:
    if isinstance(config, dict):
        return {key: _exchanged(value, by_placeholder) for key, value in config.items()}
    if isinstance(config, (list, tuple)) and not hasattr(config, "_fields"):
        return type(config)(_exchanged(item, by_placeholder) for item in config)
    return by_placeholder.get(config, config) if isinstance(config, types.FunctionType) else config
