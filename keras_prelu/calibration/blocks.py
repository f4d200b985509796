"""Blocks: the parts of a converted model that distillation trains one after the other.

A block ends where a single tensor connects it with the rest of the model, and where this tensor
should be the same in both models. That is not so between a PReLU and the next layer with a weight
matrix: the tensors there differ by the negative part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.layers import PReLU, is_slope

__all__ = ["Block", "split_into_blocks"]

_PRELUS = 2
"""The PReLU calls that a block has at least, if the model has as many.

With one, the block's last layer is all that could be trained against what its inputs lack, and
least squares has done that.
"""


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive steps of an execution plan.

    Attributes:
        steps: Tuple of `Step`.
        inputs: Tuple of `Slot`. What the block reads: one slot, or all inputs of the model.
        outputs: Tuple of `Slot`. What the block writes for later blocks: one slot, or all outputs
            of the model.
        variables: Tuple of variables to train: those of trainable layers, except for slopes and
            for variables that another block uses too.
    """

    steps: tuple[Step, ...]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    variables: tuple[Any, ...]

    @property
    def path(self) -> str:
        """The path of the block's last step."""
        return self.steps[-1].path


def split_into_blocks(plan: ExecutionPlan) -> list[Block]:
    """Divide a plan into blocks that can be trained one after the other.

    Args:
        plan: `ExecutionPlan` of a converted model.

    Returns:
        A list of `Block`. If no tensor in between should be the same in both models, it is the
        whole model.
    """
    parts = _divide(plan)
    block_of_variable: dict[int, set[int]] = defaultdict(set)
    for number, (steps, _) in enumerate(parts):
        for step in steps:
            for variable in _variables_used(step):
                block_of_variable[id(variable)].add(number)
    blocks, inputs = [], plan.inputs
    for steps, outputs in parts:
        trained = {
            id(variable): variable
            for step in steps
            for variable in getattr(step.operation, "trainable_variables", ())
            if not is_slope(variable) and len(block_of_variable[id(variable)]) == 1
        }
        blocks.append(
            Block(
                steps=tuple(steps),
                inputs=inputs,
                outputs=outputs,
                variables=tuple(trained.values()),
            )
        )
        inputs = outputs
    return blocks


def _divide(plan: ExecutionPlan) -> list[tuple[list[Step], tuple[Slot, ...]]]:
    """Return the steps of each block with the slots that the block writes for later ones."""
    parts: list[tuple[list[Step], tuple[Slot, ...]]] = []
    steps: list[Step] = []
    boundaries = [*_boundaries(plan), None]
    for step, boundary, next_boundary in zip(plan.steps, boundaries, boundaries[1:], strict=False):
        steps.append(step)
        if boundary is None or sum(map(_prelu_calls, steps)) < _PRELUS:
            continue
        (reader, *_) = plan.readers(boundary)
        # A normalization belongs to the layer before it.
        if next_boundary is None or not _has_vectors_only(reader):
            parts.append((steps, (boundary,)))
            steps = []
    if parts and sum(map(_prelu_calls, steps)) < _PRELUS:
        steps = parts.pop()[0] + steps
    return [*parts, (steps, plan.outputs)]


def _boundaries(plan: ExecutionPlan) -> Iterator[Slot | None]:
    """Yield for each step the slot at which a block can end after it, or None."""
    unread = plan.reader_counts()
    live = dict.fromkeys(plan.inputs)
    comparable: dict[Slot, bool] = dict.fromkeys(plan.inputs, True)
    for step in plan.steps:
        is_same = _has_weight_matrix(step) or all(comparable[slot] for slot in step.inputs)
        for slot in step.outputs:
            comparable[slot] = is_same and not _prelu_calls(step)
        live.update(dict.fromkeys(step.outputs))
        for slot in dict.fromkeys(step.inputs):
            unread[slot] -= 1
        live = {slot: None for slot in live if unread.get(slot)}
        (boundary, *others) = live
        is_boundary = not others and comparable[boundary] and boundary not in plan.masked
        yield boundary if is_boundary and not plan.is_output(boundary) else None


def _prelu_calls(step: Step) -> int:
    return 1 if isinstance(step.operation, PReLU) else len(prelus(step.operation))


def _has_weight_matrix(step: Step) -> bool:
    if isinstance(step.operation, PReLU):
        return False
    return any(len(variable.shape) > 1 for variable in getattr(step.operation, "weights", ()))


def _has_vectors_only(step: Step) -> bool:
    has_weights = bool(getattr(step.operation, "weights", ()))
    return has_weights and not _has_weight_matrix(step)


def _variables_used(step: Step) -> Iterator[Any]:
    """Yield the variables of a step's layer, and those that it is called with."""
    yield from getattr(step.operation, "variables", ())
    for leaf in keras.tree.flatten((step.args, step.kwargs)):
        if isinstance(leaf, keras.Variable):
            yield leaf
