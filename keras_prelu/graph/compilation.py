"""The settings that a model is compiled with, for another model of the same outputs."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import compile_arguments

__all__ = ["compile_settings"]


def compile_settings(model: keras.Model) -> dict[str, Any]:
    """Return arguments of `compile` like a model's own, with fresh optimizer and metrics.

    They are rebuilt from their configuration, as from a file. Functions and classes of the user
    that are not registered can't be; they are taken as they are in memory.

    Args:
        model: Keras model.

    Returns:
        A dict, empty if the model is not compiled.

    Raises:
        Exception: Any exception of the user's code or of Keras; an optimizer or a metric can't be
            rebuilt.
    """
    if not model.compiled:
        return {}
    try:
        settings: dict[str, Any] = keras.saving.deserialize_keras_object(
            model.get_compile_config() or {}
        )
        return settings
    except Exception:
        arguments = compile_arguments(model)
        if not arguments:
            raise
    return {
        name: keras.tree.map_structure(_without_state, value) for name, value in arguments.items()
    }


def _without_state(part: Any) -> Any:
    if isinstance(part, (keras.optimizers.Optimizer, keras.metrics.Metric)):
        return type(part).from_config(part.get_config())
    return part
