"""Weights that several operations of a model use, such as tied embeddings.

A layer that is called several times is found by its calls (`ExecutionPlan.call_count`); here, two
operations use the same variable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_prelu.graph.plan import ExecutionPlan, Slot, Step

__all__ = ["SharedVariables"]


class SharedVariables:
    """The variables that more than one operation of a plan uses.

    An operation uses its own variables, those of the layers inside it, and those that it is called
    with (`keras.ops.matmul(x, layer.kernel)`).

    Args:
        plan: `ExecutionPlan`.
    """

    def __init__(self, plan: ExecutionPlan) -> None:
        variables: dict[tuple[int, int], int] = {}
        for step in plan.steps:
            for variable in (*getattr(step.operation, "variables", ()), *_arguments(step)):
                variables[id(variable), id(step.operation)] = id(variable)
        self._uses = Counter(variables.values())

    def contains_any(self, variables: Iterable[Any]) -> bool:
        """Return whether any of some variables is shared."""
        return any(self._uses[id(variable)] > 1 for variable in variables)


def _arguments(step: Step) -> list[keras.Variable]:
    leaves = keras.tree.flatten((step.args, step.kwargs))
    return [
        leaf for leaf in leaves if not isinstance(leaf, Slot) and isinstance(leaf, keras.Variable)
    ]
