"""The signal by depth: second moments of outputs and of gradients, layer by layer (claims 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.diagnostics.call_gradients import check_probes, gradients_by_call
from keras_prelu.diagnostics.second_moments import MomentsProbe, applied_rectifier
from keras_prelu.graph.linear_layers import linear_view
from keras_prelu.graph.model_state import keeps_state, state_kept
from keras_prelu.layers import PReLU, slopes_in_effect
from keras_prelu.typing import Tensor

__all__ = ["LayerSignal", "signal_by_depth"]


@dataclass(frozen=True)
class LayerSignal:
    """The signal at one call of a linear layer or rectifier.

    Attributes:
        path: String. The names of the enclosing models, or of the enclosing layer with Python code
            of its own, and of the layer, joined by "/". `#2`, `#3`, … are appended for later calls.
        kind: String. "linear", "rectifier", or "linear, rectified" for a linear layer with an
            inline activation.
        moment: Float. The mean square of the outputs.
        gain: Float. The mean square of the outputs over the mean square of the inputs.
        predicted: Float, or None if it is not known. The gain by claim 4 for uncorrelated inputs
            of mean 0: the fan-in times the mean square of the weights for a linear layer (biases
            left out), (1 + α²)/2 for a rectifier, and their product for both.
        gradient: Float. The mean square of the derivative of a random projection of the model's
            outputs (normal, of variance 1) with respect to the layer's outputs.
    """

    path: str
    kind: str
    moment: float
    gain: float
    predicted: float | None
    gradient: float


@keeps_state("model")
def signal_by_depth(
    model: keras.Model, samples: Any, *, probes: int = 32, batch_size: int = 128, seed: int = 0
) -> tuple[LayerSignal, ...]:
    """Measure the signal at each linear layer and rectifier of a model, forward and backward.

    Args:
        model: Keras model. Nested models are included, and so are layers inside layers and models
            with Python code of their own. What such code computes itself, through functions that it
            calls, in a loop (as a recurrent layer does), or in a branch or other code that the
            backend traces by itself, is not seen.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs. All
            are used for the second moments of outputs.
        probes: Integer. The number of samples, counted from the first, that are used for the
            gradients. Defaults to 32.
        batch_size: Integer. The number of samples in a batch of the forward pass. Defaults to 128.
        seed: Integer. Seed of the random projection. Defaults to 0.

    Returns:
        A tuple of `LayerSignal`, one for each call that is seen, in execution order.

    Raises:
        DataError: If the samples do not fit the model.
        InvalidArgumentError: If `probes` is less than 1. A `ValueError`.

    Example:

    >>> [(layer.path, layer.gain, layer.predicted)
    ...     for layer in keras_prelu.diagnostics.signal_by_depth(model, x_test)]

    References:
        Claims 3 and 4. He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2.
    """
    check_probes(probes)
    data = as_samples(samples, model=model, labels="ignored")
    inputs, measure_moments = model_inputs(model, data), MomentsProbe(model, data.x)
    with state_kept(model):  # The gradients are those from the same state.
        moments = measure_moments(inputs, batch_size)
    whole_batches = -(-probes // (measure_moments.batch_size or 1))
    probes = whole_batches * (measure_moments.batch_size or 1)
    inputs = [array[:probes] for array in inputs]
    mean_squares: dict[str, float] = {}
    for calls in gradients_by_call(measure_moments, inputs, moments.values(), seed):
        for call in calls:
            share = call.samples / len(inputs[0])
            seen = mean_squares.get(call.path, 0.0)
            mean_squares[call.path] = seen + _mean_square(call.gradient) * share
    return tuple(
        LayerSignal(
            path=path,
            kind=_kind(measure_moments.layers[path]),
            moment=moment.outputs,
            gain=moment.gain,
            predicted=_predicted_gain(measure_moments.layers[path]),
            gradient=mean_squares[path],
        )
        for path, moment in moments.items()
        if path in mean_squares
    )


def _kind(layer: Any) -> str:
    if linear_view(layer) is None:
        return "rectifier"
    return "linear" if applied_rectifier(layer) is None else "linear, rectified"


def _predicted_gain(layer: Any) -> float | None:
    """Return the gain by claim 4; None for a rectifier without a slope."""
    view, rectifier, gain = linear_view(layer), applied_rectifier(layer), 1.0
    if view is not None:
        matrix = view.to_matrix(
            np.asarray(keras.ops.convert_to_numpy(view.kernel), dtype=np.float64)
        )
        gain = matrix.shape[1] * float(np.mean(np.square(matrix)))
    if rectifier is None:
        return gain
    if isinstance(rectifier, PReLU):
        slopes = np.asarray(
            keras.ops.convert_to_numpy(slopes_in_effect(rectifier)), dtype=np.float64
        )
        return gain * float(np.mean((1.0 + np.square(slopes)) / 2.0))
    if rectifier.negative_slope is None or rectifier.smooth:
        return None
    return gain * float(theory.second_moment_gain(rectifier.negative_slope, 1.0, 1))


def _mean_square(tensor: Tensor) -> float:
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return float(np.mean(np.square(values, dtype=np.float64)))
