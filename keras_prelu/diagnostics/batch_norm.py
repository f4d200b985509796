"""BatchNormalization after a rectifier: its γ beside the closed forms in the slope (claim 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.data.samples import model_inputs
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import normalizes_last_axis
from keras_prelu.graph.batch_probe import Probe
from keras_prelu.graph.detection import recognize
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.plan import Step, compile_plan
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["BatchNormGamma", "batch_norm_gammas"]


@dataclass(frozen=True)
class BatchNormGamma:
    """A BatchNormalization that reads what a rectifier puts out. All arrays have a number for each
    channel.

    Attributes:
        path: Of the BatchNormalization.
        rectifier: Path of the rectifier.
        gamma: What it has.
        identity: The γ that leaves the rectifier's outputs as they are, for pre-activations that
            are normal with the mean and the standard deviation measured: √Var[y].
        reconstruction: The γ that gives the pre-activations back best in least squares: Cov(x,
            y)/√Var[y].
    """

    path: str
    rectifier: str
    gamma: np.ndarray
    identity: np.ndarray
    reconstruction: np.ndarray


def batch_norm_gammas(
    model: keras.Model, samples: Any, *, batch_size: int = 128
) -> tuple[BatchNormGamma, ...]:
    """Measure the pre-activations before each BatchNormalization that reads a ReLU, LeakyReLU or
    PReLU layer.

    Args:
        model: Sequential or Functional, nested models included.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Samples that go through the model at once. Defaults to 128.

    Returns:
        A record for each, in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.

    Example:

    >>> [np.mean(found.gamma / found.identity)
    ...     for found in keras_prelu.diagnostics.batch_norm_gammas(model, x)]

    References:
        Claim 8, and claim 7 for means other than 0.
    """
    inputs, plan = model_inputs(model, samples), compile_plan(model)
    writers = [(plan.writer(step.inputs[0]), step) for step in plan.steps if _normalizes(step)]
    pairs = [
        (rectifier, step)
        for rectifier, step in writers
        if rectifier is not None and _slopes(rectifier.operation) is not None
    ]
    if not pairs:
        return ()
    rectifiers = {id(rectifier) for rectifier, _ in pairs}

    def look(tensors: list[Any]) -> list[tuple[str, list[Any]]]:
        return [
            (str(id(executed.step)), _sums(executed.inputs[0]))
            for executed in iterate_steps(plan, tensors)
            if id(executed.step) in rectifiers
        ]

    sums: dict[str, np.ndarray] = {}
    for _, seen in Probe(model, look).on(inputs, batch_size):
        for key, values in seen.items():
            sums[key] = sums.get(key, 0.0) + np.stack(values).astype(np.float64)
    return tuple(_record(rectifier, step, sums[str(id(rectifier))]) for rectifier, step in pairs)


def _sums(tensor: Any) -> list[Any]:
    """Of each channel: how many values, their sum, their squares' sum."""
    values = keras.ops.cast(tensor, "float32")
    over = tuple(range(len(values.shape) - 1))
    return [
        keras.ops.sum(part, axis=over)
        for part in (keras.ops.ones_like(values), values, keras.ops.square(values))
    ]


def _normalizes(step: Step) -> bool:
    layer = step.operation
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.scale
        and normalizes_last_axis(layer)
    )


def _slopes(layer: Any) -> np.ndarray | None:
    """One for each channel, or one for all; None for what is no rectifier without a cap."""
    if isinstance(layer, PReLU):
        slopes = to_float64(slopes_in_effect(layer))
        per_channel = slopes.size in (1, slopes.shape[-1])
        return slopes.reshape(-1) if per_channel and layer.max_value is None else None
    rectifier = recognize(layer) if isinstance(layer, keras.layers.Layer) else None
    if (
        rectifier is None
        or rectifier.smooth
        or rectifier.max_value is not None
        or rectifier.negative_slope is None
    ):
        return None
    return np.array([rectifier.negative_slope]) if rectifier.kind != "inline" else None


def _record(rectifier: Step, step: Step, sums: np.ndarray) -> BatchNormGamma:
    count, total, squares = sums
    mean = total / count
    sigma = np.sqrt(
        np.maximum(squares / count - np.square(mean), np.finfo(np.float32).tiny)
    )  # a channel that never varies has no r = μ/σ
    slopes = _slopes(rectifier.operation)
    assert slopes is not None
    identity = np.broadcast_to(np.sqrt(theory.output_variance(slopes, mean, sigma)), sigma.shape)
    return BatchNormGamma(
        step.path,
        rectifier.path,
        to_float64(step.operation.gamma),
        identity,
        np.divide(
            theory.input_output_covariance(slopes, mean, sigma),
            identity,
            out=np.zeros(sigma.shape),
            where=identity > 0,
        ),
    )
