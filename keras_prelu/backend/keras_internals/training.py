"""Private parts of Keras's trainers: compile settings, metrics and compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
from keras.src.losses.loss import squeeze_or_expand_to_same_rank

__all__ = [
    "EXECUTION_FUNCTIONS",
    "WrappedFunction",
    "begin_at_epoch",
    "compile_arguments",
    "compiled_metrics",
    "metric_direction",
    "metric_function",
    "ranks_aligned",
    "without_compiled_functions",
]


EXECUTION_FUNCTIONS = ("train_function", "test_function", "predict_function")
"""The attributes in which a model keeps the functions that `fit` and the like have compiled."""


def begin_at_epoch(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that has just begun start at the given epoch.

    `keras.callbacks.BackupAndRestore` does this too.
    """
    model._initial_epoch = epoch


def compile_arguments(model: keras.Model) -> Mapping[str, Any]:
    """Return the arguments that a model was compiled with, as objects.

    `get_compile_config` returns their configurations, from which a loss or metric that is not
    registered can't be made again. The result is empty if the model is not compiled. Keras does not
    store `auto_scale_loss`; it follows from the optimizer.
    """
    settings = getattr(model, "_compile_config", None)
    if not model.compiled or settings is None:
        return {}
    has_float16 = model.dtype_policy.name == "mixed_float16"
    scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return {**settings.config, "auto_scale_loss": scales_loss or not has_float16}


class WrappedFunction(NamedTuple):
    """A function of a metric, and its further arguments."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]


def metric_function(metric: keras.metrics.MeanMetricWrapper) -> WrappedFunction:
    """Return the function whose mean a metric is."""
    return WrappedFunction(function=metric._fn, arguments=metric._fn_kwargs)


def compiled_metrics(model: keras.Model) -> Any:
    """Return the metric that holds those which a model is compiled with, or None without any.

    Its `result()` is a dict, and its `metrics` are the single ones once it is built.
    """
    metrics = getattr(model, "_compile_metrics", None)
    if metrics is None or not (metrics._user_metrics or metrics._user_weighted_metrics):
        return None
    return metrics


def metric_direction(metric: keras.metrics.Metric) -> str | None:
    """Return "up" if higher values are better, "down" if lower ones are, None if unknown."""
    direction = getattr(metric, "_direction", None)
    return direction if direction in ("up", "down") else None


def ranks_aligned(labels: Any, outputs: Any) -> tuple[Any, Any]:
    """Return labels and outputs with the same rank if one of them lacks a last axis of size 1.

    In training, Keras aligns what it gives to a loss that is a function.
    """
    one, other = squeeze_or_expand_to_same_rank(labels, outputs)
    return one, other


def without_compiled_functions(name: str, value: Any) -> Any:
    """Return the value of an attribute of a model without the functions that Keras has compiled.

    TensorFlow lists them, such as `predict_function`, with the layers that a model holds, in two
    attributes of its own.

    Args:
        name: String. The name of the attribute.
        value: Any.

    Returns:
        A new list or dict for these two; any other value as it is.
    """
    if name == "_self_unconditional_checkpoint_dependencies":
        return [each for each in value if each.name not in EXECUTION_FUNCTIONS]
    if name == "_self_unconditional_dependency_names":
        return {key: each for key, each in value.items() if key not in EXECUTION_FUNCTIONS}
    return value
