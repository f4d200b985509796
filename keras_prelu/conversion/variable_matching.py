"""Matching the variables of a model with those of a model that was made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_prelu.layers import is_slope

__all__ = ["VariablePair", "match_variables"]

VariablePlace = tuple[tuple[str, ...], int]
"""The names of the layers around a variable, and its position among the innermost's variables."""


class VariablePair(NamedTuple):
    """A variable of one model, and the variable of another model at the same place, or None."""

    source: keras.Variable
    target: keras.Variable | None


def match_variables(source: keras.Model, target: keras.Model) -> list[VariablePair]:
    """Match the variables of two models by the layers that hold them.

    The path of a variable depends on whether its layer was built by a graph or by a call, and can
    occur twice in a model; the names of the layers around it don't. Slopes are left out.

    Args:
        source: `keras.Model`. Any model.
        target: `keras.Model`. A model that was converted or copied from `source`, or from which
            `source` was.

    Returns:
        A list with a `VariablePair` for each variable of `source`.
    """
    targets = dict(_placed_variables(target, ()))
    return [
        VariablePair(source=variable, target=targets.get(place))
        for place, variable in _placed_variables(source, ())
    ]


def _placed_variables(
    layer: Any, names: tuple[str, ...]
) -> Iterator[tuple[VariablePlace, keras.Variable]]:
    inner_layers = layer.layers if isinstance(layer, keras.Model) else []
    inner_variables = set()
    for inner in inner_layers:
        yield from _placed_variables(inner, (*names, inner.name))
        inner_variables |= {id(variable) for variable in inner.variables}
    own = [
        variable
        for variable in layer.variables
        if id(variable) not in inner_variables and not is_slope(variable)
    ]
    for position, variable in enumerate(own):
        yield (names, position), variable
