"""BatchNormalization after a rectifier: γ compared with its closed forms (claim 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import normalizes_last_axis
from keras_prelu.graph.batch_probe import BatchProbe
from keras_prelu.graph.interpreter import iterate_steps
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.plan import ExecutionPlan, Step, compile_plan
from keras_prelu.graph.rectifier_recognition import recognize
from keras_prelu.layers import PReLU, slopes_in_effect

__all__ = ["BatchNormGamma", "batch_norm_gammas"]


@dataclass(frozen=True)
class BatchNormGamma:
    """The γ of a BatchNormalization that reads a rectifier's outputs. Arrays are by channel.

    Attributes:
        path: String. The path of the BatchNormalization.
        rectifier: String. The path of the rectifier.
        gamma: Array. The layer's γ.
        identity: Array. The γ that leaves the rectifier's outputs as they are, for normal
            pre-activations with the measured mean and standard deviation: √Var[y].
        reconstruction: Array. The γ that reconstructs the pre-activations best in least squares:
            Cov(x, y)/√Var[y].
    """

    path: str
    rectifier: str
    gamma: np.ndarray
    identity: np.ndarray
    reconstruction: np.ndarray


@keeps_state("model")
def batch_norm_gammas(
    model: keras.Model, samples: Any, *, batch_size: int = 128
) -> tuple[BatchNormGamma, ...]:
    """Compare the γ of each BatchNormalization after a rectifier with its closed forms.

    The closed forms depend on the mean and the standard deviation of the pre-activations, which are
    measured on the samples. Rectifiers are ReLU, LeakyReLU and PReLU layers without a cap.

    Args:
        model: Keras model. Nested models are included; layers inside code are left out.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        batch_size: Integer. The number of samples in a batch. Defaults to 128.

    Returns:
        A tuple of `BatchNormGamma`, one for each such BatchNormalization, in execution order.

    Raises:
        DataError: If the samples do not fit the model.

    Example:

    >>> [np.mean(layer.gamma / layer.identity)
    ...     for layer in keras_prelu.diagnostics.batch_norm_gammas(model, x_test)]

    References:
        Claim 8, and claim 7 for means other than 0.
    """
    data = as_samples(samples, model=model, labels="ignored")
    graph = with_declared_inputs(model, data.x)
    inputs, plan = model_inputs(model, data), compile_plan(graph)
    rectified = _rectified_normalizations(plan)
    if not rectified:
        return ()
    keys = {_key(pair.rectifier) for pair in rectified}

    def measure(tensors: list[Any]) -> dict[str, list[Any]]:
        return {
            _key(executed.step): _channel_sums(executed.inputs[0])
            for executed in iterate_steps(plan, tensors)
            if _key(executed.step) in keys
        }

    sums: dict[str, np.ndarray] = {}
    for batch in BatchProbe(graph, measure).batches(inputs, batch_size):
        for key, values in batch.values.items():
            sums[key] = sums.get(key, 0.0) + np.stack(values).astype(np.float64)
    return tuple(_compare(pair, sums[_key(pair.rectifier)]) for pair in rectified)


@dataclass(frozen=True)
class _RectifiedNormalization:
    """A BatchNormalization with the rectifier before it.

    Attributes:
        rectifier: `Step`. The call of the rectifier.
        normalization: `Step`. The call of the BatchNormalization.
        slopes: Array. The rectifier's slope for each channel, or one slope for all channels.
    """

    rectifier: Step
    normalization: Step
    slopes: np.ndarray


def _rectified_normalizations(plan: ExecutionPlan) -> list[_RectifiedNormalization]:
    pairs = []
    for step in plan.steps:
        rectifier = plan.writer(step.inputs[0]) if _has_channel_gamma(step.operation) else None
        slopes = None if rectifier is None else _slopes(rectifier.operation)
        if rectifier is not None and slopes is not None:
            pairs.append(
                _RectifiedNormalization(rectifier=rectifier, normalization=step, slopes=slopes)
            )
    return pairs


def _has_channel_gamma(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.scale
        and normalizes_last_axis(layer)
    )


def _slopes(layer: Any) -> np.ndarray | None:
    """Return a rectifier's slope for each channel, or one for all; None for other layers."""
    if isinstance(layer, PReLU):
        slopes = to_float64(slopes_in_effect(layer))
        per_channel = slopes.size in (1, slopes.shape[-1])
        return slopes.reshape(-1) if per_channel and layer.max_value is None else None
    rectifier = recognize(layer) if isinstance(layer, keras.layers.Layer) else None
    if (
        rectifier is None
        or rectifier.kind == "inline"
        or rectifier.smooth
        or rectifier.max_value is not None
        or rectifier.negative_slope is None
    ):
        return None
    return np.array([rectifier.negative_slope])


def _key(step: Step) -> str:
    return str(id(step))


def _channel_sums(tensor: Any) -> list[Any]:
    """Return, by channel, the number of values, their sum and the sum of their squares."""
    values = keras.ops.cast(tensor, "float32")
    axes = tuple(range(len(values.shape) - 1))
    return [
        keras.ops.sum(summands, axis=axes)
        for summands in (keras.ops.ones_like(values), values, keras.ops.square(values))
    ]


def _compare(pair: _RectifiedNormalization, sums: np.ndarray) -> BatchNormGamma:
    count, total, squares = sums
    mean = total / count
    # A channel that never varies would have no r = μ/σ, so its variance is taken as positive.
    variance = np.maximum(squares / count - np.square(mean), np.finfo(np.float32).tiny)
    sigma = np.sqrt(variance)
    identity = np.broadcast_to(
        np.sqrt(theory.output_variance(pair.slopes, mean, sigma)), sigma.shape
    )
    covariance = theory.input_output_covariance(pair.slopes, mean, sigma)
    return BatchNormGamma(
        path=pair.normalization.path,
        rectifier=pair.rectifier.path,
        gamma=to_float64(pair.normalization.operation.gamma),
        identity=identity,
        reconstruction=np.divide(
            covariance, identity, out=np.zeros(sigma.shape), where=identity > 0
        ),
    )
