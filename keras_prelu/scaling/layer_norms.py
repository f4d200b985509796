"""Norms of linear layers, now and at initialization."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.initial_values import seeded_weights
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.layers import PReLU

__all__ = ["initial_norms", "kernel_norms", "linear_steps", "reference_norms"]


def linear_steps(plan: ExecutionPlan) -> list[Step]:
    """Return the first call of each linear layer, in execution order."""
    steps = {id(step.operation): step for step in reversed(plan.steps)}
    return [
        step
        for step in plan.steps
        if steps[id(step.operation)] is step and linear_view(step.operation) is not None
    ]


def kernel_norms(plan: ExecutionPlan) -> dict[int, float]:
    """Return the Frobenius norms of the kernels of linear layers, by the id of the layer."""
    return {id(step.operation): _norm(_kernel(step)) for step in linear_steps(plan)}


def _kernel(step: Step) -> Any:
    view = linear_view(step.operation)
    assert view is not None
    return view.kernel


def _norm(values: Any) -> float:
    return float(np.linalg.norm(to_float64(values)))


def initial_norms(model: keras.Model, plan: ExecutionPlan, seed: int) -> dict[int, float]:
    """Return the norms of kernels as their initializers draw them, by the id of the layer."""
    layers = [each for each in (model, *sublayers(model)) if not isinstance(each, PReLU)]
    weights = {
        id(weight.variable): (weight, own_seed) for weight, own_seed in seeded_weights(layers, seed)
    }
    norms = {}
    for step in linear_steps(plan):
        if id(_kernel(step)) in weights:
            weight, own_seed = weights[id(_kernel(step))]
            norms[id(step.operation)] = float(np.linalg.norm(weight.draw(own_seed)))
    return norms


def reference_norms(plan: ExecutionPlan, reference: keras.Model) -> dict[int, float]:
    """Return the norms of the layers of a reference, by the ids of the layers of the model.

    Raises:
        InvalidArgumentError: The reference has other linear layers.
    """
    steps, others = linear_steps(plan), linear_steps(compile_plan(reference))
    if len(steps) != len(others):
        raise InvalidArgumentError(
            "`reference` must be the same model before its training. Received a model with"
            f" {len(others)} linear layers instead of {len(steps)}."
        )
    for step, other in zip(steps, others, strict=True):
        shape, other_shape = tuple(_kernel(step).shape), tuple(_kernel(other).shape)
        if shape != other_shape:
            raise InvalidArgumentError(
                "`reference` must be the same model before its training. Received a model whose"
                f" '{other.path}' has a kernel of shape {other_shape}, and not {shape} as"
                f" '{step.path}'."
            )
    return {
        id(step.operation): _norm(_kernel(other)) for step, other in zip(steps, others, strict=True)
    }
