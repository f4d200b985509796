"""A second layer from the first: its class, its configuration and, separately, its weights.

Layers of Keras's own are rebuilt with zeros, not drawn numbers that the weights then replace (a
tenth of the time for ResNet50), and get their initializers together with the weights.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from typing import Any

import keras

from keras_prelu.backend.variables import assign_copy
from keras_prelu.errors import ConversionError, reason_of

__all__ = ["check_variables", "copy_other_state", "copy_variables", "rebuild"]


def rebuild(operation: Any, *, linear: bool = False) -> Any:
    """A new layer or op from the configuration of one, its inline activation and what regularizes
    that left out where `linear`.

    Raises:
        ConversionError: The configuration does not describe the layer; the message says which of
            its methods is to blame.
    """
    config = _config(operation)
    if linear:
        config.update(activation="linear", activity_regularizer=None)
    config.update(dict.fromkeys(_initializers(operation), "zeros"))
    try:
        lambda_ = isinstance(operation, keras.layers.Lambda)
        copy = (
            _rebuild_lambda(operation, config) if lambda_ else type(operation).from_config(config)
        )
    except Exception as error:
        raise ConversionError(
            f"{_described(operation)} can't be rebuilt: from_config(get_config()) fails"
            f" ({reason_of(error)}). Give its class a get_config() with every argument of __init__"
        ) from error
    if copy.name != operation.name:  # some constructors append to the name that they are given
        copy.name = operation.name
    return copy


def _rebuild_lambda(operation: Any, config: dict[str, Any]) -> Any:
    """A Lambda over the same functions, which are live in this process: safe mode is for files.

    What a configuration says of a function is its bytecode, which has lost the module it was in, or
    a name that may not be registered.
    """
    functions = [value for value in vars(operation).values() if inspect.isfunction(value)]
    with keras.saving.custom_object_scope({function.__name__: function for function in functions}):
        copy = type(operation).from_config(config, safe_mode=False)
    copy.function, copy.mask = operation.function, operation.mask
    return copy


def copy_variables(original: Any, copy: Any, apart: frozenset[int] = frozenset()) -> None:
    """Give a rebuilt layer the variables' values of the layer it was rebuilt from.

    Args:
        original: The layer.
        copy: The one that was rebuilt from it, built.
        apart: Ids of variables that only one of the two has.

    Raises:
        ConversionError: The variables do not match: the configuration does not describe the layer.
    """
    check_variables(original, copy, apart)
    for source, target in zip(_without(apart, original), _without(apart, copy), strict=True):
        assign_copy(target, source)
    for name in _initializers(original):
        vars(copy)[name] = getattr(original, name).clone()


def copy_other_state(original: Any, copy: Any) -> None:
    """Give a rebuilt layer what a layer keeps beside variables: what follows from them, such as a
    Normalization's mean and variance, and what is no number, such as a StringLookup's vocabulary.
    By the methods that Keras saves and loads with; layers inside left out.
    """
    overrides = type(original).load_own_variables is not keras.layers.Layer.load_own_variables
    if overrides and not hasattr(
        original, "lora_enabled"
    ):  # those that have it override it for quantized and adapted weights alone
        store: dict[str, Any] = {}
        original.save_own_variables(store)
        copy.load_own_variables(
            {name: keras.ops.convert_to_numpy(value) for name, value in store.items()}
        )
    if hasattr(original, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            original.save_assets(folder)
            if os.listdir(folder):  # there is none where all is in the configuration
                copy.load_assets(folder)


def check_variables(original: Any, copy: Any, apart: frozenset[int] = frozenset()) -> None:
    """Raise what `copy_variables` would raise."""
    sources, targets = _without(apart, original), _without(apart, copy)
    if [tuple(v.shape) for v in sources] != [tuple(v.shape) for v in targets]:
        raise ConversionError(
            f"{_described(original)} has other variables after being rebuilt from its configuration"
            f" ({len(targets)} instead of {len(sources)}, or other shapes). Its get_config() does"
            " not describe all of it, or it has no build() that makes them."
        )


def _without(apart: frozenset[int], layer: Any) -> list[Any]:
    return [variable for variable in layer.variables if id(variable) not in apart]


def _initializers(operation: Any) -> list[str]:
    """The attributes of a layer of Keras's own that are initializers, and are given by its
    configuration under the same name."""
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
