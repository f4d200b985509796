"""Weights that are put back if an operation that changes them fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from keras_prelu.backend.variables import snapshot

__all__ = ["SavedWeights", "restored_on_failure"]


class SavedWeights:
    """The values of variables at the time of construction.

    Args:
        variables: Iterable of `keras.Variable`; one may occur several times.
    """

    def __init__(self, variables: Iterable[Any]) -> None:
        unique = {id(variable): variable for variable in variables}
        self._saved: list[tuple[keras.Variable, Any]] = [
            (variable, snapshot(variable)) for variable in unique.values()
        ]

    def restore(self) -> None:
        """Assign the saved values."""
        for variable, value in self._saved:
            variable.assign(value)


@contextmanager
def restored_on_failure(variables: Iterable[Any]) -> Iterator[SavedWeights]:
    """Restore variables if the body raises, also through an interrupt.

    An operation that verifies its result raises within the context.
    """
    saved = SavedWeights(variables)
    try:
        yield saved
    except BaseException:
        saved.restore()
        raise
