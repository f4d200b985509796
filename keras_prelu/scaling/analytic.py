"""Rescaling a converted model without samples or statistics (claims 4 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.channel_scaling import (
    is_batch_normalization,
    output_channels,
    output_variables,
    scale_outputs,
)
from keras_prelu.graph.layer_kinds import has_linear_activation
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.graph.weight_constraints import may_be_scaled
from keras_prelu.graph.weight_sharing import SharedVariables
from keras_prelu.layers import PReLU

__all__ = ["Rescaling", "rescale_analytic"]


@dataclass(frozen=True)
class Rescaling:
    """The rescaling of one site.

    Attributes:
        path: String. Path of the PReLU layer.
        producer: String. Path of the layer whose channels were scaled, or "".
        action: String. "scaled", or "kept" with the reason.
    """

    path: str
    producer: str
    action: str


def rescale_analytic(converted: keras.Model, targets: Sequence[str]) -> list[Rescaling]:
    """Scale the inputs of each PReLU by 1/√(1 + α²), in place.

    The outputs then have the second moment that the ReLU's outputs had. The factor follows from
    claim 4 for x symmetric about 0. By claim 6, φ(s·x) = s·φ(x), so the factor can be folded into
    the kernel and bias, or the γ and β of a BatchNormalization, if nothing else feeds the PReLU and
    they feed nothing else. This is right for fresh weights and nearly worthless for trained ones,
    whose biases are not symmetric (docs/explanation/calibration.md).

    Args:
        converted: `keras.Model`. A converted model. It is changed.
        targets: Sequence of strings. Paths of the PReLU layers whose inputs are scaled.

    Returns:
        A list of `Rescaling`, one for each target. A site without a producer of its own, or with a
        cap, is left unchanged.
    """
    plan, target_set = compile_plan(converted), set(targets)
    shared = SharedVariables(plan)
    return [_rescale(plan, step, shared) for step in plan.steps if step.path in target_set]


def _rescale(plan: ExecutionPlan, step: Step, shared: SharedVariables) -> Rescaling:
    layer = step.operation
    assert isinstance(layer, PReLU)
    producer = plan.writer(step.inputs[0])
    if layer.max_value is not None:
        return _kept(step, "", "a capped activation is not homogeneous")
    if producer is None or plan.sole_reader(step.inputs[0]) is None:
        return _kept(
            step, "", "what feeds it is an input or output of the model or feeds other layers too"
        )
    if plan.call_count(producer.operation) > 1:
        return _kept(step, producer.path, f"'{producer.path}' is called at several places")
    scale = 1.0 / np.sqrt(1.0 + np.square(keras.ops.convert_to_numpy(layer.alpha).reshape(-1)))
    obstacle = _obstacle(producer.operation, scale, shared)
    if obstacle:
        return _kept(step, producer.path, obstacle)
    channels = output_channels(producer.operation)
    scale_outputs(producer.operation, np.broadcast_to(scale, (channels,)))
    return Rescaling(path=step.path, producer=producer.path, action="scaled")


def _kept(step: Step, producer: str, reason: str) -> Rescaling:
    return Rescaling(path=step.path, producer=producer, action=f"kept: {reason}")


def _obstacle(layer: Any, scale: np.ndarray, shared: SharedVariables) -> str:
    """Return why the output channels of a layer can't be scaled, or ""."""
    channels = output_channels(layer)
    if is_batch_normalization(layer) and not channels:
        return "the BatchNormalization before it has no scale or no center"
    if not channels or not has_linear_activation(layer):
        return f"'{layer.name}' ({type(layer).__name__}) has no weights that scale its output"
    if scale.size not in (1, channels):
        return "its slopes are not one for each channel"
    variables = output_variables(layer)
    if shared.contains_any(variables):
        return f"'{layer.name}' shares its weights with another layer"
    if not all(map(may_be_scaled, variables)):
        return f"'{layer.name}' has a constraint, which scaled weights would violate"
    return ""
