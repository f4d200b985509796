"""Rescaling a converted model without samples (claims 4 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.channel_scaling import output_channels, scale_outputs
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.layers import PReLU

__all__ = ["Rescaling", "rescale_analytic"]


@dataclass(frozen=True)
class Rescaling:
    """What was done for one site.

    Attributes:
        path: Path of the PReLU layer.
        producer: Path of the layer whose channels were scaled, or "".
        action: "scaled", or "kept" and why.
    """

    path: str
    producer: str
    action: str


def rescale_analytic(converted: keras.Model, targets: Sequence[str]) -> list[Rescaling]:
    """Scale what feeds each PReLU by 1/√(1 + α²), in place, so that its output has the second
    moment that ReLU's had.

    Claim 4 for x symmetric about 0; by claim 6, φ(s·x) = s·φ(x), the factor of the PReLU's output
    is folded into the kernel and bias, or the γ and β of a BatchNormalization, that alone feed it.
    Right for fresh weights and nearly worthless for trained ones, whose biases are not symmetric
    (docs/explanation/calibration.md).

    Args:
        converted: A converted model. It is changed.
        targets: Paths of the PReLU layers to rescale for.

    Returns:
        A record for each target; a site without one producer of its own, or with a cap, is kept as
        it is.
    """
    plan, wanted = compile_plan(converted), set(targets)
    return [_rescale(plan, step) for step in plan.steps if step.path in wanted]


def _rescale(plan: ExecutionPlan, step: Step) -> Rescaling:
    layer = step.operation
    assert isinstance(layer, PReLU)
    producer = plan.writer(step.inputs[0])
    if layer.max_value is not None:
        return Rescaling(step.path, "", "kept: a capped activation is not homogeneous")
    if producer is None or len(plan.readers(step.inputs[0])) > 1:
        return Rescaling(
            step.path, "", "kept: what feeds it is an input of the model or feeds other layers too"
        )
    if plan.call_count(producer.operation) > 1:
        return Rescaling(
            step.path, producer.path, f"kept: '{producer.path}' is called at several places"
        )
    scale = 1.0 / np.sqrt(1.0 + np.square(keras.ops.convert_to_numpy(layer.alpha).reshape(-1)))
    reason = _scale_outputs(producer.operation, scale)
    return Rescaling(step.path, producer.path, f"kept: {reason}" if reason else "scaled")


def _scale_outputs(layer: Any, scale: np.ndarray) -> str:
    """Scale a layer's output channels, or change nothing and say why it can't be done."""
    channels = output_channels(layer)
    if isinstance(layer, keras.layers.BatchNormalization) and not channels:
        return "the BatchNormalization before it has no scale or no center"
    if not channels or getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return f"'{layer.name}' ({type(layer).__name__}) has no weights that scale its output"
    if scale.size not in (1, channels):
        return "its slopes are not one for each channel"
    scale_outputs(layer, np.broadcast_to(scale, (channels,)))
    return ""
