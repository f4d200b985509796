"""How noisy gradients are: the simple noise scale, and what it says about the batch size (claim
9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.autodiff import gradients
from keras_prelu.backend.variables import snapshot
from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.errors import DataError, InvalidArgumentError

__all__ = ["GradientNoise", "VariableNoise", "gradient_noise"]


@dataclass(frozen=True)
class VariableNoise:
    """The noise of one variable's gradient.

    Attributes:
        path: Of the variable.
        relative_variance: Trace of the covariance of one sample's gradient over the squared norm of
            the mean gradient, which is the simple noise scale; infinite where the mean can't be
            told from 0.
    """

    path: str
    relative_variance: float


@dataclass(frozen=True)
class GradientNoise:
    """The noise of a model's gradient.

    Attributes:
        samples: How many gradients were taken of.
        scale: The simple noise scale tr(Σ)/‖G‖², in samples: about the batch size above which
            larger batches bring little. Infinite where the mean gradient can't be told from 0 with
            these samples.
        variance: tr(Σ), of one sample's gradient.
        squared_norm: ‖G‖², of the mean gradient, unbiased; it may be negative.
        variables: The same by trainable variable.
    """

    samples: int
    scale: float
    variance: float
    squared_norm: float
    variables: tuple[VariableNoise, ...]


def gradient_noise(
    model: keras.Model,
    data: Any,
    *,
    loss: Any = None,
    group: int = 8,
    limit: int = 1024,
    seed: int = 0,
) -> GradientNoise:
    """Estimate the gradient noise of a model, in inference mode, from the gradients of small groups
    of samples and of all of them.

    Args:
        model: Any built model.
        data: `Samples` or a pair (x, y), labelled.
        loss: Keras loss that is a mean over samples. Defaults to the one that the model is compiled
            with.
        group: Samples whose gradient is taken at once. Defaults to 8.
        limit: At most so many samples are used, drawn at random. Defaults to 1024.
        seed: Of the draw.

    Returns:
        The estimates. Both ‖G‖² and tr(Σ) are unbiased; their ratio is not, and needs many groups
        where the scale is large.

    Raises:
        DataError: There are no labels, or fewer than two groups of samples.
        InvalidArgumentError: A ValueError; there is no loss, or `group` is less than 1.

    Example:

    >>> keras_prelu.diagnostics.gradient_noise(model, (x_train, y_train)).scale

    References:
        Claim 9. McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, appendix A.1.
    """
    data = as_samples(data, model=model, labels="required")
    loss = keras.losses.get(loss if loss is not None else getattr(model, "loss", None))
    if loss is None:
        raise InvalidArgumentError(
            "The model is not compiled: give the `loss` whose gradient is meant."
        )
    if group < 1:
        raise InvalidArgumentError(f"`group` must be at least 1. Received: group={group}")
    check_labels(model, data, loss)
    chosen = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:limit]))
    groups = len(chosen) // group
    if groups < 2:
        raise DataError(
            f"Gradient noise needs two groups of {group} samples at least, and there are"
            f" {len(chosen)} samples."
        )
    order = np.random.default_rng(seed).permutation(groups * group).reshape(groups, group)
    inputs = model_inputs(model, chosen)
    variables = model.trainable_variables
    squares, total = np.zeros(len(variables)), [np.zeros(variable.shape) for variable in variables]
    for rows in order:
        found = _gradients(
            model, loss, [array[np.sort(rows)] for array in inputs], chosen.take(np.sort(rows)).y
        )
        for index, gradient in enumerate(found):
            squares[index] += np.sum(np.square(gradient)) / groups
            total[index] += gradient / groups
    means = np.array([np.sum(np.square(gradient)) for gradient in total])
    variances = group * groups / (groups - 1) * (squares - means)
    norms = means - variances / (group * groups)
    return GradientNoise(
        groups * group,
        _ratio(variances.sum(), norms.sum()),
        float(variances.sum()),
        float(norms.sum()),
        tuple(
            VariableNoise(variable.path, _ratio(*pair))
            for variable, *pair in zip(variables, variances, norms, strict=True)
        ),
    )


def _gradients(
    model: keras.Model, loss: Any, inputs: list[np.ndarray], labels: Any
) -> list[np.ndarray]:
    """Of the mean loss of a batch, by each trainable variable."""
    variables = model.trainable_variables
    tensors = [keras.ops.convert_to_tensor(array) for array in inputs]
    truth = keras.tree.map_structure(keras.ops.convert_to_tensor, labels)

    def mean_loss(*values: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            outputs = model(tensors if len(tensors) > 1 else tensors[0], training=False)
            return keras.ops.mean(loss(truth, outputs))

    found = gradients(
        mean_loss, [keras.ops.convert_to_tensor(snapshot(variable)) for variable in variables]
    )
    return [
        np.asarray(keras.ops.convert_to_numpy(gradient), dtype=np.float64) for gradient in found
    ]


def _ratio(variance: float, squared_norm: float) -> float:
    return float(max(variance, 0.0) / squared_norm) if squared_norm > 0 else float("inf")
