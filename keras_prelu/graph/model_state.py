"""State of a model that changes while it is called: kept over whatever is computed with the model.

Such state is that of stateful recurrent layers and random generators, moving statistics, counters,
metrics, and the losses that the last call left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ParamSpec, TypeVar

import keras
import numpy as np

from keras_prelu.backend.keras_internals import keep_losses, state_variables
from keras_prelu.backend.variables import held_value, outside_of_graphs, restore
from keras_prelu.utils.signatures import around_calls

__all__ = ["keeps_state", "state_kept", "state_of", "states_equal", "variables_kept"]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


@contextmanager
def state_kept(*operations: Any) -> Iterator[None]:
    """Restore the state of layers or models when the context ends, also through an exception.

    Args:
        *operations: Layers, models, or anything else, which has no state.
    """
    layers = [each for each in operations if isinstance(each, keras.layers.Layer)]
    with ExitStack() as undo:
        for layer in layers:
            undo.enter_context(keep_losses(layer))
        undo.enter_context(
            _kept([variable for layer in layers for variable in state_variables(layer)])
        )
        yield


@contextmanager
def variables_kept(layer: keras.layers.Layer) -> Iterator[None]:
    """Restore all variables of a layer when the context ends, also through an exception.

    Some layers assign to their weights while they are called for training, as
    `keras.layers.SpectralNormalization` does.
    """
    with state_kept(layer), _kept(layer.variables):
        yield


@contextmanager
def _kept(variables: Sequence[keras.Variable]) -> Iterator[None]:
    held = [(variable, held_value(variable)) for variable in variables]
    try:
        yield
    finally:
        with outside_of_graphs():
            for variable, value in held:
                restore(variable, value)


def state_of(operation: Any) -> list[np.ndarray]:
    """Return the values of the variables that may change while a layer is called.

    Anything that is not a layer has none.
    """
    if not isinstance(operation, keras.layers.Layer):
        return []
    return [keras.ops.convert_to_numpy(each).copy() for each in state_variables(operation)]


def states_equal(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    """Return whether two results of `state_of` are equal."""
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def keeps_state(
    *names: str,
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Return a decorator that keeps the state of models over the call of a function.

    Args:
        *names: Strings. The parameters of the function that are models, or None.
    """

    def call(function: Callable[..., Any], bound: inspect.BoundArguments) -> Any:
        with state_kept(*(bound.arguments.get(name) for name in names)):
            return function(*bound.args, **bound.kwargs)

    return around_calls(call)
