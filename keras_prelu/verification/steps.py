"""Whether the steps of an execution plan, run one by one, compute what `predict` computes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_prelu.graph.interpreter import RunStep, iterate_steps, run_plan
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan, Step
from keras_prelu.typing import Tensor
from keras_prelu.verification.agreement import (
    SAME_OPERATIONS,
    coarsest_epsilon,
    difference,
    magnitude,
    prediction_difference,
)
from keras_prelu.verification.prediction import Value, as_value, predict_once

__all__ = ["as_tensors", "intermediate_magnitude", "is_random", "steps_difference"]


def as_tensors(model: keras.Model, inputs: Any) -> list[Tensor]:
    """Return the inputs of a model with a graph as tensors, in order and of the model's dtypes."""
    return [
        array
        if tensor.dtype == "string"
        else keras.ops.convert_to_tensor(array, dtype=tensor.dtype)
        for array, tensor in zip(keras.tree.flatten(inputs), model.inputs, strict=True)
    ]


def intermediate_magnitude(
    model: keras.Model, plan: ExecutionPlan, inputs: Any, run_step: RunStep = Step.execute
) -> float:
    """Return the largest magnitude of the tensors that a model computes for a batch.

    Args:
        model: `keras.Model`. It has a graph.
        plan: `ExecutionPlan` of the model.
        inputs: Array, or list or dict of arrays. The batch.
        run_step: Callable, as in `iterate_steps`. Defaults to `Step.execute`.
    """
    largest = 0.0
    with state_kept(model):
        for executed in iterate_steps(plan, as_tensors(model, inputs), run_step):
            largest = max(largest, magnitude(map(as_value, executed.outputs)))
    return largest


def steps_difference(
    model: keras.Model, plan: ExecutionPlan, inputs: Any, run_step: RunStep = Step.execute
) -> str:
    """Return how the outputs of a plan differ from what a model predicts, or "".

    Args:
        model: `keras.Model`. It has a graph.
        plan: `ExecutionPlan`. The steps of the model, or of one whose steps `run_step` replaces by
            the model's.
        inputs: Array, or list or dict of arrays. One batch, in the structure that the model takes.
        run_step: Callable, as in `iterate_steps`. Defaults to `Step.execute`.
    """
    prediction = predict_once(model, inputs)
    operations = [step.operation for step in plan.steps]
    with state_kept(model, *operations), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Those of the model were shown when it was built.
        outputs = [as_value(each) for each in run_plan(plan, as_tensors(model, inputs), run_step)]
    epsilon = coarsest_epsilon(model)
    reason = _differs(prediction.outputs, outputs, epsilon, 0.0)
    if reason:
        intermediate = intermediate_magnitude(model, plan, inputs, run_step)
        reason = _differs(prediction.outputs, outputs, epsilon, intermediate)
    return reason


def is_random(model: keras.Model, inputs: Any) -> bool:
    """Return whether the predictions of a model for the same inputs and state differ."""
    first, second = predict_once(model, inputs), predict_once(model, inputs)
    return bool(
        prediction_difference(first, second, epsilon=coarsest_epsilon(model), units=SAME_OPERATIONS)
    )


def _differs(
    predicted: Sequence[Value], outputs: Sequence[Value], epsilon: float, intermediate: float
) -> str:
    for one, other in zip(predicted, outputs, strict=True):
        scale = max(magnitude([one]), intermediate)
        reason = difference(one, other, SAME_OPERATIONS * epsilon * scale)
        if reason:
            return reason
    return ""
