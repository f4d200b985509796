"""The settings that a model is compiled with, for a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.backend.keras_internals import compile_arguments, metric_function
from keras_prelu.conversion.optimizer_and_metric_copies import copy_from_config
from keras_prelu.conversion.optimizer_copies import copy_optimizer
from keras_prelu.conversion.variable_matching import match_variables
from keras_prelu.errors import (
    ConversionError,
    InvalidArgumentError,
    reason_of,
)
from keras_prelu.utils.user_warnings import warn

__all__ = ["copy_compile_settings", "fresh_metrics", "settings_without_optimizer"]


def copy_compile_settings(model: keras.Model, copied: keras.Model) -> None:
    """Compile a copy of a model like the model, or warn that this is not possible.

    Losses are the same objects, so they need not be registered. Metrics and the optimizer are
    copies without state.
    """
    if not model.compiled:
        return
    try:
        _compile_alike(model, copied)
    except Exception as error:
        warn(
            f"The compile settings of '{model.name}' could not be carried over"
            f" ({reason_of(error)}). Compile the new model yourself.",
        )


def _compile_alike(model: keras.Model, copied: keras.Model) -> None:
    if _has_own_compile(copied):
        if type(copied).compile_from_config is keras.Model.compile_from_config:
            if copied.compiled:  # It is the model itself, or a duplicate, which has its settings.
                _renew_optimizers(model, copied)
                return
            raise ConversionError(
                f"{type(copied).__name__} has a compile() of its own and no compile_from_config()"
            )
        copied.compile_from_config(model.get_compile_config())
        return
    arguments = compile_arguments(model)
    if not arguments:
        return
    copied.compile(
        **settings_without_optimizer(model), optimizer=_copied_optimizer(model, copied, arguments)
    )
    if copied.optimizer is not None and copied.built:
        copied.optimizer.build(copied.trainable_variables)


def _renew_optimizers(model: keras.Model, copied: keras.Model) -> None:
    """Exchange the optimizers that a model holds for copies that are not built yet.

    Those that are built know nothing of new layers.
    """
    pairs = match_variables(model, copied)
    renewed: dict[int, Any] = {}
    for name, value in list(vars(copied).items()):
        if isinstance(value, keras.optimizers.Optimizer):
            if id(value) not in renewed:
                renewed[id(value)] = copy_optimizer(value, pairs)
            setattr(copied, name, renewed[id(value)])


def _copied_optimizer(model: keras.Model, copied: keras.Model, arguments: Mapping[str, Any]) -> Any:
    """Return a copy of the optimizer, or None with a warning if it can't be copied."""
    if arguments.get("optimizer") is None:
        return None
    try:
        return copy_optimizer(arguments["optimizer"], match_variables(model, copied))
    except InvalidArgumentError as error:
        warn(
            f"The optimizer of '{model.name}' could not be carried over: {error} Compile the new"
            " model yourself before you train it.",
        )
        return None


def settings_without_optimizer(model: keras.Model) -> dict[str, Any]:
    """Return the arguments that a model is compiled with, except for the optimizer.

    Metrics are copies without state. The result is empty if the model is not compiled.
    """
    if type(model).get_compile_config is not keras.Model.get_compile_config:
        config = model.get_compile_config() if model.compiled else None
        arguments: Mapping[str, Any] = keras.saving.deserialize_keras_object(config or {})
    else:
        arguments = compile_arguments(model)
    settings = {name: value for name, value in arguments.items() if name != "optimizer"}
    for name in ("metrics", "weighted_metrics"):
        if settings.get(name) is not None:
            settings[name] = fresh_metrics(settings[name])
    return settings


def fresh_metrics(metrics: Any) -> Any:
    """Return a structure of metrics without state, since each model needs its own.

    Args:
        metrics: Structure of metrics, their names, and functions, as in `compile`.
    """
    return keras.tree.map_structure(_fresh_metric, metrics)


def _fresh_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    if type(metric) is keras.metrics.MeanMetricWrapper:
        # Its configuration names the function, which may not be registered.
        wrapped = metric_function(metric)
        return keras.metrics.MeanMetricWrapper(
            wrapped.function, name=metric.name, dtype=metric.dtype, **wrapped.arguments
        )
    return copy_from_config(metric, metric.get_config)


def _has_own_compile(model: keras.Model) -> bool:
    return type(model).compile is not keras.Model.compile
