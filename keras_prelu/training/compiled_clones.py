"""Clones of models, compiled for a training by its setup."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.backend.keras_internals import has_settable_rate, moving_averages
from keras_prelu.conversion.compile_settings import fresh_metrics, settings_without_optimizer
from keras_prelu.conversion.optimizer_copies import single_optimizers
from keras_prelu.conversion.rewriter import copy_model
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.output_names import output_names, with_output_names
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.learning_rate_schedules import set_schedule
from keras_prelu.training.optimizers import (
    default_optimizer,
    optimizer_for,
    with_slope_settings,
)
from keras_prelu.training.precision import compute_in
from keras_prelu.training.setup import TrainingSetup

__all__ = ["compiled_clone", "let_it_go_on"]

_NO_RATE = 1e-9
"""Below this learning rate, weights in float32 stay as they are."""


def compiled_clone(source: keras.Model, setup: TrainingSetup) -> keras.Model:
    """Return a clone of a model, compiled with what the setup says, and what its source is compiled
    with.

    Raises:
        InvalidArgumentError: A ValueError; there is no loss, or slopes are frozen or warmed up on a
            stream without length.
    """
    model = copy_model(source)
    model = with_output_names(model, output_names(source))
    compute_in(model, setup.fit.mixed_precision)
    _compile(model, source, setup)
    return model


def _compile(model: keras.Model, source: keras.Model, setup: TrainingSetup) -> None:
    settings = settings_without_optimizer(source)
    if setup.fit.loss is not None:
        settings["loss"] = setup.fit.loss
    if setup.fit.metrics is not None:
        settings["metrics"] = fresh_metrics(setup.fit.metrics)
    if settings.get("loss") is None:
        raise InvalidArgumentError(
            f"Model '{model.name}' is not compiled with a loss. Give `loss`, or compile it."
        )
    optimizer = _optimizer(setup, source, model)
    if setup.fit.mixed_precision == "float16" and not _scales_loss(optimizer):
        # With `auto_scale_loss` instead, a model that is loaded from a file would not scale it.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(**settings, optimizer=optimizer)


def _scales_loss(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def let_it_go_on(model: keras.Model, source: keras.Model, setup: TrainingSetup) -> None:
    """Compile a trained model anew if its learning rate is at its end.

    That is at the end of a schedule of the fine-tuning, or at a rate of 0 to which a schedule of
    the user's or a callback has brought it, at which `fit` would change nothing. A fresh optimizer
    takes its place, at the first rate or the start of the user's schedule.

    Args:
        model: Keras model. What `compiled_clone` returned, trained. It is changed.
        source: Keras model. The one that it is a clone of.
        setup: `TrainingSetup` of the training.
    """
    is_ours = setup.fit.optimizer is None or setup.fit.schedule is not None
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return
    if (is_ours and not has_settable_rate(optimizer)) or _stands_still(optimizer):
        _compile(model, source, setup.without_schedules())
        # A file of a model whose optimizer is not built loads with a warning.
        model.optimizer.build(model.trainable_variables)
        return
    for average in _moving_averages(optimizer):
        # On JAX, Keras lets the weights share its memory, which the next step gives away.
        average.assign(keras.ops.copy(average.value))


def _moving_averages(optimizer: Any) -> list[Any]:
    """Return the moving averages of weights that an optimizer keeps, or those it delegates to."""
    keeping = [each for each in single_optimizers(optimizer) if each.built and each.use_ema]
    return [average for each in keeping for average in moving_averages(each)]


def _stands_still(optimizer: Any) -> bool:
    """Return whether all that updates variables has a rate of 0."""
    rates = [each.learning_rate for each in single_optimizers(optimizer) if each.built]
    return bool(rates) and float(max(map(keras.ops.convert_to_numpy, rates))) < _NO_RATE


def _optimizer(setup: TrainingSetup, source: keras.Model, model: keras.Model) -> Any:
    """Return the optimizer of a clone of a model."""
    fit, steps = setup.fit, setup.steps()
    if fit.optimizer is None:
        optimizer = default_optimizer(fit.learning_rate, fit.schedule, steps)
    else:
        optimizer = optimizer_for(model, fit.optimizer, (*setup.models, source))
        set_schedule(optimizer, fit.schedule, steps)
    if not has_prelu_layers(model):
        return optimizer
    if steps is None and (setup.slopes.frozen_epochs or setup.slopes.warmup_epochs):
        raise InvalidArgumentError(
            "Slopes are frozen or warmed up for a number of epochs, but this data has no length to"
            " count steps by. Give samples, or a stream with a length."
        )
    return with_slope_settings(optimizer, setup.slopes, (steps or 0) / fit.epochs)
