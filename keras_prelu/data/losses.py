"""Losses by name, with an error that names those there are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from keras_prelu.data.functions import is_function_name, named_instance
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.utils.suggestions import did_you_mean

__all__ = ["named_loss", "resolved_loss"]

_SHORT_NAMES = ("bce", "kld", "mae", "mape", "mse", "msle")


def resolved_loss(loss: Any) -> Any:
    """Return a loss as a function of labels and outputs.

    Args:
        loss: Keras loss, function, name of a Keras loss, or None; or a list or dict of these for
            several outputs.

    Returns:
        The loss, with functions and `keras.losses.Loss` objects in place of names; the only one of
        a list or dict.

    Raises:
        InvalidArgumentError: A ValueError; there is no such loss.
    """
    if isinstance(loss, Mapping) and "class_name" not in loss:
        losses = {name: resolved_loss(part) for name, part in loss.items()}
        return losses if len(losses) != 1 else next(iter(losses.values()))
    if isinstance(loss, (list, tuple)):
        parts = [resolved_loss(part) for part in loss]
        return parts if len(parts) != 1 else parts[0]
    try:
        return keras.losses.get(loss)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"There is no Keras loss {loss!r}.{_suggestion(loss)} Received: loss={loss!r}"
        ) from error


def named_loss(name: str) -> Any:
    """Return the Keras loss of a name, or the loss that `module:name` names.

    Args:
        name: Str. Name of a Keras loss; or `module:function`, also a subclass of
            `keras.losses.Loss`, which is then constructed without arguments.

    Raises:
        InvalidArgumentError: A ValueError; there is no such Keras loss.
        DataError: There is no such module or function.
    """
    if ":" not in name:
        return resolved_loss(name)
    if not is_function_name(name):
        raise InvalidArgumentError(f"'{name}' names no loss. Write module:function.")
    return named_instance(name)


def _suggestion(loss: Any) -> str:
    names = [
        *_SHORT_NAMES,
        *(
            name
            for name, value in vars(keras.losses).items()
            if name.islower() and inspect.isfunction(value) and name not in ("get", "serialize")
        ),
    ]
    return did_you_mean(str(loss), names) or " It may be a function of your own."
