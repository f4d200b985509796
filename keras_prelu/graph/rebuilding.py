"""Cloning a layer: its class, its configuration and, separately, its weights.

Layers of Keras's own are rebuilt with zeros, since random values would be replaced by the weights
(this takes a tenth of the time for ResNet50), and get their initializers together with the weights.
Layers that are converted rebuild themselves (`ConvertedLayer.rebuild_converted`), and those without
a configuration are duplicated (`duplicates`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any, cast

import keras

from keras_prelu.backend.keras_internals import recurrent_states, sublayers
from keras_prelu.backend.variables import assign_copy
from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph.carried_functions import CarriedFunctions
from keras_prelu.graph.duplicates import duplicate

__all__ = [
    "check_variables",
    "copy_other_state",
    "copy_variables",
    "duplicate_instead",
    "rebuild",
    "rebuild_from_config",
    "refuse_divided_layers",
    "variables_apart_from",
]


def rebuild(operation: Any, *, linear: bool = False) -> Any:
    """Return a new layer or op from the configuration of an existing one, or a duplicate of it.

    It applies the same functions. A configuration describes a function by its name, which other
    functions may have, or not at all; the copy then gets the function itself. A layer without a
    configuration is duplicated in memory.

    Args:
        operation: Layer or op.
        linear: Boolean. Whether to leave out the inline activation and its regularizer. Defaults
            to False.

    Raises:
        ConversionError: The configuration does not describe the layer, and it can't be duplicated;
            the message names the method to add.
    """
    if hasattr(operation, "rebuild_converted"):
        return operation.rebuild_converted()
    try:
        return rebuild_from_config(operation, linear=linear)
    except ConversionError as error:
        if linear:
            raise
        return duplicate_instead(operation, error)


def duplicate_instead(operation: Any, error: ConversionError) -> Any:
    """Return a duplicate of a layer or op that can't be rebuilt.

    Raises:
        ConversionError: It can't be duplicated either.
    """
    try:
        return duplicate(operation)
    except ConversionError as failure:
        raise ConversionError(f"{error} {failure}") from failure


def rebuild_from_config(operation: Any, *, linear: bool = False) -> Any:
    """Return a new layer or op from the configuration of an existing one, as `rebuild` does.

    Raises:
        ConversionError: The configuration does not describe the layer; the message names the method
            to add.
    """
    changes = {"activation": "linear", "activity_regularizer": None} if linear else {}
    functions = CarriedFunctions(operation, left_out=["activation"] if linear else [])
    with functions.left_out():
        copy = _rebuild(operation, functions, changes)
    if copy.name != operation.name:
        copy.name = operation.name  # Some constructors append to the name that they are given.
    _refuse_shared_layers(operation, copy, functions)
    refuse_divided_layers(operation, copy)
    return copy


def _refuse_shared_layers(operation: Any, copy: Any, functions: CarriedFunctions) -> None:
    """Check that what is done to the layers inside a copy does not happen to the original."""
    originals = {id(layer) for layer in sublayers(operation)}
    for layer in sublayers(copy):
        if id(layer) in originals and not functions.carries(layer):
            raise ConversionError(
                f"{_described(operation)} can't be rebuilt: after from_config(get_config()), it"
                f" holds the same layer '{layer.name}' ({type(layer).__name__}) as before. Create"
                " the layer in its __init__"
            )


def refuse_divided_layers(operation: Any, copy: Any, added: int = 0) -> None:
    """Check that a copy does not hold several layers in place of one.

    Layers that a `build` creates may be missing in a copy, which is not built yet.

    Args:
        operation: Layer or op.
        copy: Layer or op that was rebuilt from its configuration.
        added: Integer. Number of layers that the configuration does not describe. Defaults to 0.

    Raises:
        ConversionError: The configuration describes one layer several times.
    """
    count, present = len(sublayers(copy)), len(sublayers(operation)) - added
    if count > present:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: after from_config(get_config()), it holds"
            f" {count} layers instead of {present}, since its configuration describes one layer"
            " several times. Describe each layer once, and set the other attributes in its"
            " __init__."
        )


def _rebuild(operation: Any, functions: CarriedFunctions, changes: Mapping[str, Any]) -> Any:
    """Return a copy that applies the same functions.

    The configuration is used as it is, if it describes the functions. If not, it is read and used
    while unique names stand for them.
    """
    failure = None
    try:
        with functions.quiet():
            copy = _from_config(operation, _config(operation), changes)
        functions.carry_to_keras_layers(copy)
        if functions.are_in(copy):
            return copy
    except ConversionError as error:
        if not functions.lack_names:
            raise
        failure = error
    try:
        with functions.named() as unnamed:
            copy = _from_config(operation, unnamed(_config(operation)), changes)
    except ConversionError as error:
        raise failure or error from error
    functions.carry(copy)
    if not functions.are_in(copy):
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: after from_config(get_config()),"
            f" {functions.first_missing(copy)} is another function. Give its class a get_config()"
            " with every argument of __init__"
        )
    return copy


def _from_config(operation: Any, config: dict[str, Any], changes: Mapping[str, Any]) -> Any:
    config.update(dict.fromkeys(_initializers(operation), "zeros"))
    config.update(changes)
    try:
        return type(operation).from_config(config)
    except Exception as error:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: from_config(get_config()) fails"
            f" ({reason_of(error)}). {_advice(operation)}"
        ) from error


def copy_variables(original: Any, copy: Any, apart: frozenset[int] = frozenset()) -> None:
    """Give a rebuilt layer the variables and initializers of the layer that it was rebuilt from.

    The regularizer and the constraint of a variable, and whether it is trainable, may have been set
    on the variable itself, of which the configuration knows nothing.

    Args:
        original: Layer.
        copy: Layer that was rebuilt from `original`, and is built.
        apart: Frozen set of integers. Ids of variables that only one of the two has. Defaults to
            none.

    Raises:
        ConversionError: The variables do not match: the configuration does not describe the layer.
    """
    check_variables(original, copy, apart)
    for source, target in zip(
        variables_apart_from(apart, original), variables_apart_from(apart, copy), strict=True
    ):
        assign_copy(target, source)
        _copy_settings(target, source)
    for name in _initializers(original):
        vars(copy)[name] = getattr(original, name).clone()


def _copy_settings(target: Any, source: Any) -> None:
    """Give a variable the settings of another that training goes by."""
    for name in ("regularizer", "constraint", "trainable"):
        setting = getattr(source, name, None)
        if getattr(target, name, None) is not setting:
            setattr(target, name, setting)


def copy_other_state(original: Any, copy: Any) -> None:
    """Give a rebuilt layer the state that the original has in addition to its variables.

    This is state that follows from the variables, such as the mean and variance of a Normalization,
    and state that is not numeric, such as the vocabulary of a StringLookup. It is copied with the
    methods by which Keras saves and loads. The states of a stateful recurrent layer, which Keras
    does not save, are copied too. Sublayers are left out.
    """
    overrides = type(original).load_own_variables is not keras.layers.Layer.load_own_variables
    # Layers that can be adapted with LoRA override the method only for quantized and adapted
    # weights.
    if overrides and not hasattr(original, "lora_enabled"):
        store: dict[str, Any] = {}
        original.save_own_variables(store)
        copy.load_own_variables(
            {name: keras.ops.convert_to_numpy(value) for name, value in store.items()}
        )
    for source, target in zip(recurrent_states(original), recurrent_states(copy), strict=False):
        assign_copy(target, source)
    if hasattr(original, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            original.save_assets(folder)
            if os.listdir(folder):  # Empty if the configuration holds the whole state.
                copy.load_assets(folder)


def check_variables(original: Any, copy: Any, apart: frozenset[int] = frozenset()) -> None:
    """Raise the error that `copy_variables` would raise, without copying."""
    sources, targets = variables_apart_from(apart, original), variables_apart_from(apart, copy)
    if [tuple(v.shape) for v in sources] != [tuple(v.shape) for v in targets]:
        raise ConversionError(
            f"{_described(original)} has other variables after being rebuilt from its configuration"
            f" ({len(targets)} instead of {len(sources)}, or other shapes). Add all arguments of"
            " __init__ to its get_config(), and create its variables in build()."
        )


def variables_apart_from(apart: frozenset[int], layer: Any) -> list[Any]:
    """Return the variables of a layer without those of some ids."""
    return [variable for variable in layer.variables if id(variable) not in apart]


def _initializers(operation: Any) -> list[str]:
    """Return the names of the attributes of a Keras layer that are initializers.

    The configuration has them under the same names.
    """
    if not type(operation).__module__.startswith("keras."):
        return []
    own = {name: value for name, value in vars(operation).items() if not name.startswith("_")}
    return [
        name
        for name, value in own.items()
        if name.endswith("_initializer") and isinstance(value, keras.Initializer)
    ]


def _config(operation: Any) -> dict[str, Any]:
    """Return a configuration of a layer or op, in which the layers that it holds are copies."""
    try:
        config = dict(operation.get_config())
    except Exception as error:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: its get_config() fails"
            f" ({reason_of(error)}). {_advice(operation)}"
        ) from error
    return cast("dict[str, Any]", _with_copies(config, {}))


def _with_copies(value: Any, copies: dict[int, Any]) -> Any:
    """Return a part of a configuration with copies in place of layers.

    Args:
        value: Any. The part.
        copies: Dict. The copies so far by the ids of their originals, so that a layer that is
            there twice is copied once.
    """
    if not _holds_layer(value):
        return value
    if isinstance(value, dict):
        return {key: _with_copies(item, copies) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = (_with_copies(item, copies) for item in value)
        return tuple(items) if isinstance(value, tuple) else list(items)
    if id(value) not in copies:
        copies[id(value)] = rebuild(value)
    return copies[id(value)]


def _holds_layer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_layer, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_layer, value))
    return isinstance(value, keras.layers.Layer)


def _advice(operation: Any) -> str:
    if type(operation).__module__.startswith("keras."):
        return (
            "Give what it holds a class with a get_config(), registered with"
            " keras.saving.register_keras_serializable"
        )
    return "Give its class a get_config() with every argument of __init__"


def _described(operation: Any) -> str:
    kind = "Model" if isinstance(operation, keras.Model) else "Layer"
    return f"{kind} '{operation.name}' ({type(operation).__name__})"
