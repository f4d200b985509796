"""The simple noise scale of gradients, and its implications for the batch size (claim 9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.autodiff import gradients
from keras_prelu.backend.variables import snapshot
from keras_prelu.data.labels import check_labels
from keras_prelu.data.output_losses import loss_weights_of
from keras_prelu.data.samples import Samples, as_samples, model_inputs
from keras_prelu.data.signature import input_signature
from keras_prelu.diagnostics.predictions import mean_loss_of
from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.typing import Array
from keras_prelu.utils.checks import check_integer

__all__ = ["LEAST_SAMPLES", "GradientNoise", "VariableNoise", "gradient_noise"]

GROUP = 8
LEAST_SAMPLES = 2 * GROUP
"""The number of samples that `gradient_noise` needs with its default group."""


@dataclass(frozen=True)
class VariableNoise:
    """The noise of the gradient with respect to one variable.

    Attributes:
        path: String. The variable's path.
        relative_variance: Float. Its simple noise scale: the trace of the covariance of one
            sample's gradient over the squared norm of the mean gradient. Infinite if the mean
            can't be distinguished from 0.
    """

    path: str
    relative_variance: float


@dataclass(frozen=True)
class GradientNoise:
    """The noise of a model's gradient.

    Attributes:
        samples: Integer. The number of samples that were used.
        scale: Float. The simple noise scale tr(Σ)/‖G‖², in samples: about the batch size above
            which larger batches gain little. Infinite if the mean gradient can't be distinguished
            from 0 with these samples.
        variance: Float. tr(Σ), the trace of the covariance of one sample's gradient.
        squared_norm: Float. ‖G‖², the squared norm of the mean gradient. The estimate is unbiased
            and may be negative.
        variables: Tuple of `VariableNoise`, one for each trainable variable.
    """

    samples: int
    scale: float
    variance: float
    squared_norm: float
    variables: tuple[VariableNoise, ...]


@keeps_state("model")
def gradient_noise(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    group: int = GROUP,
    limit: int = 1024,
    seed: int = 0,
) -> GradientNoise:
    """Estimate the gradient noise of a model in inference mode.

    The estimate compares the gradients of small groups of samples with the gradient of all samples.

    Args:
        model: Any built model.
        data: `Samples` with labels, a tuple (x, y) or (x, y, weights), or a data set of batches
            that ends.
        loss: Keras loss that is a mean over samples; for several outputs one for all, or a list or
            dict of them. Defaults to the loss the model is compiled with.
        group: Integer. The number of samples in a group. Defaults to 8.
        limit: Integer. The largest number of samples that are used, drawn at random. Defaults to
            1024.
        seed: Integer. Seed of the draw. Defaults to 0.

    Returns:
        A `GradientNoise`. The estimates of ‖G‖² and tr(Σ) are unbiased; their ratio is not, and
        needs many groups if the scale is large.

    Raises:
        DataError: If there are no labels, or fewer than two groups of samples.
        InvalidArgumentError: If there is no loss, or if `group` is less than 1. A `ValueError`.

    Example:

    >>> keras_prelu.diagnostics.gradient_noise(model, (x_train, y_train)).scale

    References:
        Claim 9. McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, appendix A.1.
    """
    data = as_samples(data, model=model, labels="required")
    loss = loss if loss is not None else getattr(model, "loss", None)
    if loss is None:
        raise InvalidArgumentError(
            "The model is not compiled: give the `loss` whose gradient is measured."
        )
    check_integer("group", group, minimum=1)
    check_integer("limit", limit, minimum=1)
    check_labels(model, data, loss)
    chosen = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:limit]))
    groups = len(chosen) // group
    if groups < 2:
        raise DataError(
            f"Gradient noise needs at least two groups of {group} samples. Received: {len(chosen)}"
            " samples"
        )
    order = np.random.default_rng(seed).permutation(groups * group).reshape(groups, group)
    variables = model.trainable_variables
    mean_squares = np.zeros(len(variables))
    mean_gradients = [np.zeros(variable.shape) for variable in variables]
    for group_gradients in _gradients_of_groups(model, loss, chosen, order):
        for index, gradient in enumerate(group_gradients):
            mean_squares[index] += np.sum(np.square(gradient)) / groups
            mean_gradients[index] += gradient / groups
    squared_means = np.array([np.sum(np.square(gradient)) for gradient in mean_gradients])
    variances = group * groups / (groups - 1) * (mean_squares - squared_means)
    squared_norms = squared_means - variances / (group * groups)
    return GradientNoise(
        samples=groups * group,
        scale=_noise_scale(variances.sum(), squared_norms.sum()),
        variance=float(variances.sum()),
        squared_norm=float(squared_norms.sum()),
        variables=tuple(
            VariableNoise(
                path=variable.path, relative_variance=_noise_scale(variance, squared_norm)
            )
            for variable, variance, squared_norm in zip(
                variables, variances, squared_norms, strict=True
            )
        ),
    )


def _gradients_of_groups(
    model: keras.Model, loss: Any, samples: Samples, order: Array
) -> Iterator[list[Array]]:
    """Yield, for each row of indices in `order`, the gradients by trainable variable."""
    inputs, signature = model_inputs(model, samples), input_signature(model, samples.x)
    for rows in np.sort(order, axis=1):
        x = signature.pack([array[rows] for array in inputs])
        yield _gradients(model, loss, x, samples.take(rows))


def _gradients(model: keras.Model, loss: Any, x: Any, samples: Samples) -> list[Array]:
    """Return the gradients of a batch's mean loss with respect to each trainable variable."""
    variables = model.trainable_variables
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
    loss_weights = loss_weights_of(model)

    def mean_loss(*values: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return mean_loss_of(model, model(tensors, training=False), samples, loss, loss_weights)

    values = [keras.ops.convert_to_tensor(snapshot(variable)) for variable in variables]
    return [
        np.asarray(keras.ops.convert_to_numpy(gradient), dtype=np.float64)
        for gradient in gradients(mean_loss, values)
    ]


def _noise_scale(variance: float, squared_norm: float) -> float:
    return float(max(variance, 0.0) / squared_norm) if squared_norm > 0 else float("inf")
