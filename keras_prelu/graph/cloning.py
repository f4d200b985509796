"""Cloning a layer: its class, its configuration and, separately, its weights.

Layers of Keras's own are rebuilt with zeros, since random values would be replaced by the weights
(this takes a tenth of the time for ResNet50), and get their initializers together with the weights.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from typing import Any

import keras

from keras_prelu.backend.keras_internals import recurrent_states
from keras_prelu.backend.variables import assign_copy
from keras_prelu.errors import ConversionError, reason_of

__all__ = ["check_variables", "copy_other_state", "copy_variables", "rebuild"]


def rebuild(operation: Any, *, linear: bool = False) -> Any:
    """Return a new layer or op from the configuration of an existing one.

    Args:
        operation: Layer or op.
        linear: Boolean. Whether to leave out the inline activation and its regularizer. Defaults
            to False.

    Raises:
        ConversionError: The configuration does not describe the layer; the message names the method
            to add.
    """
    config = _config(operation)
    if linear:
        config.update(activation="linear", activity_regularizer=None)
    config.update(dict.fromkeys(_initializers(operation), "zeros"))
    try:
        if isinstance(operation, keras.layers.Lambda):
            copy = _rebuild_lambda(operation, config)
        else:
            copy = type(operation).from_config(config)
    except Exception as error:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: from_config(get_config()) fails"
            f" ({reason_of(error)}). Give its class a get_config() with every argument of __init__"
        ) from error
    if copy.name != operation.name:
        copy.name = operation.name  # Some constructors append to the name that they are given.
    return copy


def _rebuild_lambda(operation: Any, config: dict[str, Any]) -> Any:
    """Return a Lambda over the same functions.

    A configuration describes a function by its bytecode, which has lost its module, or by a name
    that may not be registered; here the functions themselves are available. For the same reason
    safe mode, which protects against the code in files, is off.
    """
    functions = [value for value in vars(operation).values() if inspect.isfunction(value)]
    with keras.saving.custom_object_scope({function.__name__: function for function in functions}):
        copy = type(operation).from_config(config, safe_mode=False)
    copy.function, copy.mask = operation.function, operation.mask
    return copy


def copy_variables(original: Any, copy: Any, apart: frozenset[int] = frozenset()) -> None:
    """Give a rebuilt layer the variables and initializers of the layer that it was rebuilt from.

    Args:
        original: Layer.
        copy: Layer that was rebuilt from `original`, and is built.
        apart: Frozen set of integers. Ids of variables that only one of the two has. Defaults to
            none.

    Raises:
        ConversionError: The variables do not match: the configuration does not describe the layer.
    """
    check_variables(original, copy, apart)
    for source, target in zip(_without(apart, original), _without(apart, copy), strict=True):
        assign_copy(target, source)
    for name in _initializers(original):
        vars(copy)[name] = getattr(original, name).clone()


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
    sources, targets = _without(apart, original), _without(apart, copy)
    if [tuple(v.shape) for v in sources] != [tuple(v.shape) for v in targets]:
        raise ConversionError(
            f"{_described(original)} has other variables after being rebuilt from its configuration"
            f" ({len(targets)} instead of {len(sources)}, or other shapes). Add all arguments of"
            " __init__ to its get_config(), and create its variables in build()."
        )


def _without(apart: frozenset[int], layer: Any) -> list[Any]:
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
    try:
        return dict(operation.get_config())
    except Exception as error:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: its get_config() fails"
            f" ({reason_of(error)}). Give its class a get_config() with every argument of __init__"
        ) from error


def _described(operation: Any) -> str:
    kind = "Model" if isinstance(operation, keras.Model) else "Layer"
    return f"{kind} '{operation.name}' ({type(operation).__name__})"
