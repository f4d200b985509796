"""Interpreter of execution plans: runs the steps and frees each tensor after its last reader.

It computes without gradients, except those that `backend.autodiff.gradients` is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from keras_prelu.backend.gradients import without_gradients
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step
from keras_prelu.typing import Tensor

__all__ = ["ExecutedStep", "Liveness", "RunStep", "iterate_steps", "run_plan"]


RunStep = Callable[[Step, Mapping[Slot, Tensor]], list[Tensor]]
"""Computes the outputs of a step from the values of the slots, as `Step.execute` does."""


@dataclass(frozen=True)
class ExecutedStep:
    """A step with the tensors of one batch.

    Attributes:
        step: `Step`.
        inputs: List of tensors, one for each slot in `step.inputs`.
        outputs: List of tensors, one for each slot in `step.outputs`.
    """

    step: Step
    inputs: list[Tensor]
    outputs: list[Tensor]


class Liveness:
    """Tells which slots of a plan are still to be read.

    The steps may be executed in any order that the graph allows.

    Args:
        plan: `ExecutionPlan`. Outputs of the model are never freed.

    Example:

    >>> plan = compile_plan(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    >>> Liveness(plan).release(plan.steps[0]) == list(plan.inputs)
    True
    """

    def __init__(self, plan: ExecutionPlan) -> None:
        self._reads_left = plan.reader_counts()

    def release(self, step: Step) -> list[Slot]:
        """Count a step as executed.

        Returns:
            The slots, among those that the step reads and writes, that no later step reads: their
            values can be freed.
        """
        for slot in dict.fromkeys(step.inputs):
            self._reads_left[slot] -= 1
        slots = dict.fromkeys((*step.inputs, *step.outputs))
        return [slot for slot in slots if not self._reads_left.get(slot)]


def iterate_steps(
    plan: ExecutionPlan, inputs: Sequence[Tensor], run_step: RunStep = Step.execute
) -> Iterator[ExecutedStep]:
    """Run a plan on one batch, and yield each step once it is executed.

    Args:
        plan: `ExecutionPlan`.
        inputs: Sequence of tensors, one for each of the plan's inputs.
        run_step: Callable. Computes a step's outputs. Defaults to `Step.execute`.

    Yields:
        An `ExecutedStep` for each step, in execution order.
    """
    liveness = Liveness(plan)
    values: dict[Slot, Tensor] = dict(zip(plan.inputs, inputs, strict=True))
    for step in plan.steps:
        with without_gradients():
            outputs = run_step(step, values)
        yield ExecutedStep(
            step=step, inputs=[values[slot] for slot in step.inputs], outputs=outputs
        )
        values.update(zip(step.outputs, outputs, strict=True))
        del outputs  # Only the dictionary holds them now, so freeing a slot frees its tensor.
        for slot in liveness.release(step):
            del values[slot]


def run_plan(
    plan: ExecutionPlan, inputs: Sequence[Tensor], run_step: RunStep = Step.execute
) -> list[Tensor]:
    """Return the outputs of a plan for one batch. The arguments are those of `iterate_steps`."""
    results = dict(zip(plan.inputs, inputs, strict=True))
    results = {slot: tensor for slot, tensor in results.items() if plan.is_output(slot)}
    for executed in iterate_steps(plan, inputs, run_step):
        for slot, tensor in zip(executed.step.outputs, executed.outputs, strict=True):
            if plan.is_output(slot):
                results[slot] = tensor
    return [results[slot] for slot in plan.outputs]
