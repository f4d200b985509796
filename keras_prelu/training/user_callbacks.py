"""The user's callbacks of one training."""

from __future__ import annotations

import copy
from typing import Any

from keras_prelu.training.config import FitConfig
from keras_prelu.utils.signatures import required_arguments

__all__ = ["user_callbacks"]


def user_callbacks(fit: FitConfig, training: str) -> list[Any]:
    """Return the user's callbacks, new ones for each training.

    Args:
        fit: `FitConfig`. Settings of the training.
        training: Str. Name of the training.
    """
    if not callable(fit.callbacks):
        return [copy.deepcopy(callback) for callback in fit.callbacks or ()]
    takes_name = required_arguments(fit.callbacks) == 1
    return list(fit.callbacks(training) if takes_name else fit.callbacks())
