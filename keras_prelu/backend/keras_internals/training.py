"""Private parts of Keras's trainers: compile settings, metrics and compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.losses.loss import squeeze_or_expand_to_same_rank
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator

__all__ = [
    "EXECUTION_FUNCTIONS",
    "WrappedFunction",
    "begin_at_epoch",
    "compile_arguments",
    "compiled_metrics",
    "global_seed_state",
    "metric_direction",
    "metric_function",
    "pass_over_steps",
    "ranks_aligned",
    "set_global_seed_state",
    "without_compiled_functions",
]


EXECUTION_FUNCTIONS = ("train_function", "test_function", "predict_function")
"""The attributes in which a model keeps the functions that `fit` and the like have compiled."""


def begin_at_epoch(model: keras.Model, epoch: int) -> None:
    """Let the `fit` that has just begun start at the given epoch.

    `keras.callbacks.BackupAndRestore` does this too.
    """
    model._initial_epoch = epoch


def pass_over_steps(model: keras.Model) -> Callable[[], None]:
    """Let the `fit` that runs read batches without training on them.

    Args:
        model: Keras model whose `fit` has begun an epoch.

    Returns:
        A function that lets it train again.
    """
    train_function = model.train_function

    def read(*arguments: Any) -> Any:
        # JAX hands the state of the training through. PyTorch gets batches that have been read, the
        # other backends the iterator.
        *state, data = arguments
        if not isinstance(data, (list, tuple)):
            for _ in range(model.steps_per_execution):
                next(data)
        return ({}, *state) if state else {}

    def train() -> None:
        model.train_function = train_function

    model.train_function = read
    return train


def global_seed_state() -> np.ndarray | None:
    """Return the state of the generator that `keras.random` draws from without a seed.

    It is None before the first such draw after `keras.utils.set_random_seed`.
    """
    generator = get_global_attribute(GLOBAL_SEED_GENERATOR)
    if generator is None:
        return None
    return np.array(keras.ops.convert_to_numpy(generator.state), copy=True)


def set_global_seed_state(state: np.ndarray | None) -> None:
    """Set the state that `global_seed_state` returned. None leaves it as it is."""
    if state is not None:
        global_seed_generator().state.assign(state)


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
