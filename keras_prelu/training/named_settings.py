"""Settings of a training by name, as the command line and run files have them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.backend.keras_internals import has_settable_rate
from keras_prelu.data.functions import (
    called_by_name,
    is_function_name,
    named_function,
    named_instance,
    named_object,
)
from keras_prelu.data.losses import named_loss
from keras_prelu.errors import InvalidArgumentError, reason_of
from keras_prelu.training.learning_rate_schedules import SCHEDULES
from keras_prelu.utils.suggestions import did_you_mean

__all__ = ["named_settings", "own_object"]

_COMPILED_METRICS = ("accuracy", "acc", "ce", "crossentropy")
"""Metrics that `model.compile` chooses by the loss."""


def named_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `finetune` that settings by name stand for.

    Args:
        settings: Mapping from arguments of `finetune` to names:

            - `loss`: a Keras loss;
            - `optimizer`: a Keras optimizer, with settings, as in "adamw:weight_decay=1e-4"; it
              gets `learning_rate`, and the schedule "cosine" if there is no other;
            - `schedule`: a name in `SCHEDULES`;
            - `metrics`: a sequence of Keras metrics;
            - `class_weight`: "balanced", or weights as in "0=1,1=5";
            - `augment`: a layer or function.

            Instead of a name of Keras's, "module:name" names an object of the user's. Other
            arguments are returned as they are.

    Raises:
        InvalidArgumentError: A ValueError; there is no such name.
        DataError: There is no such module or function.
    """
    named = dict(settings)
    if named.get("loss") is not None:
        named["loss"] = named_loss(named["loss"])
    if named.get("schedule") is not None:
        named["schedule"] = _schedule(named["schedule"])
    if named.get("optimizer") is not None:
        named["optimizer"] = _optimizer(named["optimizer"], named.pop("learning_rate", None))
        has_own = isinstance(named["optimizer"].get_config().get("learning_rate"), dict)
        if named.get("schedule") is None and not has_own:
            named["schedule"] = "cosine"
    if "metrics" in named:
        named["metrics"] = [_metric(name) for name in named["metrics"] or ()] or None
    if named.get("class_weight") is not None:
        named["class_weight"] = _class_weight(named["class_weight"])
    if named.get("augment") is not None:
        named["augment"] = own_object(named["augment"], "augmentation")
    return named


def _optimizer(text: str, learning_rate: float | None) -> keras.optimizers.Optimizer:
    name, _, settings = text.partition(":")
    classes = _classes(keras.optimizers, keras.optimizers.Optimizer)
    cls = classes.get(name.lower())
    if cls is None and is_function_name(text):
        optimizer = named_object(text)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            optimizer = called_by_name(text)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise InvalidArgumentError(
                f"'{text}' must be or return a Keras optimizer. Received:"
                f" {type(optimizer).__name__}"
            )
        if learning_rate is not None:
            if not has_settable_rate(optimizer):
                raise InvalidArgumentError(
                    f"The optimizer '{text}' has a learning rate schedule of its own. Leave out the"
                    f" learning rate of {learning_rate:g}, or give an optimizer without one."
                )
            optimizer.learning_rate = learning_rate
        return optimizer
    if cls is None or name.lower() == "optimizer":
        raise InvalidArgumentError(
            f"There is no Keras optimizer '{name}'.{did_you_mean(name, classes)} Write"
            " NAME:KEY=VALUE,…, such as adamw:weight_decay=1e-4, or module:name."
        )
    known = [each for each in inspect.signature(cls).parameters if each != "kwargs"]
    given = _pairs(text, settings)
    for key in given:
        if key not in known:
            raise InvalidArgumentError(
                f"The optimizer '{name}' has no setting '{key}'.{did_you_mean(key, known)}"
            )
    if learning_rate is not None:
        if "learning_rate" in given:
            raise InvalidArgumentError(
                f"The learning rate is given twice: in '{text}' and as {learning_rate:g}."
            )
        given["learning_rate"] = learning_rate
    try:
        return cls(**given)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"The optimizer '{text}': {reason_of(error)}.") from error


def _classes(module: Any, base: type) -> dict[str, Any]:
    return {
        name.lower(): value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base)
    }


def _pairs(text: str, settings: str) -> dict[str, Any]:
    """Return the values of "key=value,key=value", as Python literals or strings."""
    pairs = {}
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise InvalidArgumentError(
                f"'{text}' must have the form NAME:KEY=VALUE,…; '{part}' is no KEY=VALUE."
            )
        pairs[key.strip()] = _literal(value.strip())
    return pairs


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _schedule(text: str) -> Any:
    if text in SCHEDULES:
        return text
    if is_function_name(text):
        return named_function(text)
    raise InvalidArgumentError(
        f"There is no schedule '{text}'.{did_you_mean(text, SCHEDULES)} Schedules:"
        f" {', '.join(SCHEDULES)}, or module:function."
    )


def _metric(text: str) -> Any:
    if ":" in text:
        return own_object(text, "metric")
    if text.lower() in _COMPILED_METRICS:
        return text
    try:
        metric = keras.metrics.get(text)
    except ValueError:
        metric = None
    if metric is None:
        names = [*_COMPILED_METRICS, *_classes(keras.metrics, keras.metrics.Metric)]
        raise InvalidArgumentError(
            f"There is no Keras metric '{text}'.{did_you_mean(text, names)} It may be"
            " module:name of yours."
        )
    return metric


def _class_weight(text: str) -> Any:
    if text == "balanced":
        return text
    weights = {}
    for part in text.split(","):
        number, equals, weight = part.partition("=")
        try:
            weights[int(number)] = float(weight)
        except ValueError:
            equals = ""
        if not equals:
            raise InvalidArgumentError(
                f"The class weight '{text}' must be 'balanced' or CLASS=WEIGHT,…, such as 0=1,1=5."
            )
    return weights


def own_object(text: str, role: str) -> Any:
    """Return a user's object; a class is constructed without arguments."""
    if not is_function_name(text):
        raise InvalidArgumentError(f"'{text}' names no {role}. Write module:name.")
    return named_instance(text)
