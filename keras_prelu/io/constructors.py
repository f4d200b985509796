"""Check that classes of the user's take what their configurations hold, before a file is written.

Keras writes a file also for a class whose constructor then refuses it, such as a model with
`def __init__(self)`, whose configuration has a dtype.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_prelu.backend.keras_internals import Functional, functional_like_constructor
from keras_prelu.errors import FileError
from keras_prelu.utils.libraries import is_of_user

__all__ = ["refuse_unloadable_classes"]

_FROM_CONFIG = frozenset(cls.from_config.__func__ for cls in (keras.Model, keras.layers.Layer))
"""Methods that call the constructor with the configuration."""


def refuse_unloadable_classes(model: keras.Model, path: Path) -> None:
    """Raise a FileError for a model with a layer that Keras can't make again from its file.

    Args:
        model: `keras.Model`.
        path: Path. The file that is to be written.
    """
    for layer in _described_layers(model):
        cls: Any = getattr(type(layer), "converted_from", type(layer))
        from_config = getattr(cls.from_config, "__func__", None)
        refusal = _refusal(cls, layer) if from_config in _FROM_CONFIG else ""
        if refusal:
            raise FileError(
                f"'{path}' is not written, since it could not be loaded: the __init__ of"
                f" {cls.__name__} does not take what its get_config() returns ({refusal}). Let it"
                " take **kwargs and hand them to super().__init__(), or write a get_config() with"
                f" its arguments alone. Until then, save_weights() keeps the weights of"
                f" '{model.name}'."
            )


def _described_layers(layer: Any) -> Iterator[Any]:
    """Yield the layers of the user's classes that a file describes by their configurations.

    What the constructor of such a class creates is in no configuration.
    """
    if is_of_user(getattr(type(layer), "converted_from", type(layer))):
        is_graph = isinstance(layer, Functional) and functional_like_constructor(type(layer))
        if not is_graph:
            yield layer
            return
    if isinstance(layer, (Functional, keras.Sequential)):
        for inner in layer.layers:
            yield from _described_layers(inner)
    elif isinstance(layer, keras.layers.Wrapper):
        yield from _described_layers(layer.layer)


def _config_as_written(layer: Any) -> dict[str, Any] | None:
    """Return the configuration that a file has for the user's class, or None if there is none.

    Keras says why, when it saves the model.
    """
    try:
        config: dict[str, Any] = layer.get_config()
        is_converted = hasattr(type(layer), "converted_from")
        return config["layer"]["config"] if is_converted else config
    except Exception:  # Whatever the user's code raises.
        return None


def _refusal(cls: Any, layer: Any) -> str:
    """Return why the constructor of a class refuses the configuration of a layer, or ""."""
    config = _config_as_written(layer)
    if config is None:
        return ""
    try:
        inspect.signature(cls.__init__).bind(None, **config)
    except TypeError as error:
        return str(error)
    return ""
