"""The scale symmetry: networks that differ only in the scales of their channels (claim 6).

Such networks compute the same function. `channel_scales` measures the scales of one network,
`rescale_channels` returns another network with the same function, and `channel_influences` measures
what these networks have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.samples import as_samples, model_inputs
from keras_prelu.diagnostics.call_gradients import check_probes, gradients_by_call
from keras_prelu.diagnostics.second_moments import MomentsProbe
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.graph.plan import compile_plan
from keras_prelu.scaling.channel_groups import channel_groups
from keras_prelu.scaling.channel_sizes import ChannelSizes

__all__ = [
    "GroupScale",
    "LayerInfluence",
    "channel_influences",
    "channel_scales",
    "rescale_channels",
]


@dataclass(frozen=True)
class GroupScale:
    """A group of channels whose scales can be moved between their producers and consumers.

    Attributes:
        producers: Tuple of strings. Paths of the layers that produce the channels.
        consumers: Tuple of strings. Paths of the layers that consume them.
        channels: Integer. The number of channels.
        balance: Array. A value for each channel: the largest weight that produces it over the
            largest weight that consumes it. The symmetry leaves it open; `equalize` makes it 1.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    balance: np.ndarray


def channel_scales(model: keras.Model) -> tuple[GroupScale, ...]:
    """Measure the scale of each channel that can be rescaled without changing the function.

    Args:
        model: Sequential or Functional model. Nested models are included.

    Returns:
        A tuple of `GroupScale`, one for each group of channels. Groups that can't be rescaled,
        because a cap or an output of the model uses them, are left out.

    Raises:
        ConversionError: If the model has no graph.

    Example:

    >>> [group.balance.max() / group.balance.min()
    ...     for group in keras_prelu.diagnostics.channel_scales(model)]

    References:
        Claim 6.
    """
    groups = [group for group in channel_groups(compile_plan(model)) if not group.reason]
    sizes = ChannelSizes(groups)
    return tuple(
        GroupScale(
            producers=tuple(step.path for step in group.producers),
            consumers=tuple(step.path for step in group.consumers),
            channels=group.channels,
            balance=_balance(sizes.written(group), sizes.read(group)),
        )
        for group in groups
    )


def _balance(produced: np.ndarray, consumed: np.ndarray) -> np.ndarray:
    unused = np.full(produced.shape, np.inf)
    return np.divide(produced, consumed, out=unused, where=consumed > 0)


def rescale_channels(model: keras.Model, *, factor: float = 10.0, seed: int = 0) -> keras.Model:
    """Return another network with the same function, with the channels rescaled at random.

    The scale of each channel is moved between the layers that produce it and those that consume it.

    Args:
        model: Sequential or Functional model. It is not changed. Nested models are included.
        factor: Float. Channels are multiplied by 1/factor to factor, log-uniformly. Defaults to 10.
        seed: Integer. Seed of the factors. Defaults to 0.

    Returns:
        A new model with the outputs of the given one, up to rounding.

    Raises:
        ConversionError: If the model has no graph.

    Example:

    >>> keras_prelu.diagnostics.rescale_channels(model, seed=1).predict(x_test)

    References:
        Claim 6.
    """
    copy, rng = rewrite(model), np.random.default_rng(seed)
    for group in channel_groups(compile_plan(copy)):
        if not group.reason:
            group.scale(factor ** rng.uniform(-1.0, 1.0, group.channels))
    return copy


@dataclass(frozen=True)
class LayerInfluence:
    """The influence of the channels at one call of a linear layer or rectifier on the outputs.

    Attributes:
        path: String. The path of the call, as in `signal_by_depth`.
        influence: Array. A value for each channel: the root mean square, over samples, of the
            derivative of a random projection of the model's outputs (normal, of variance 1) with
            respect to the logarithm of the channel's scale. This derivative is the sum over
            positions of output times gradient.
    """

    path: str
    influence: np.ndarray


@keeps_state("model")
def channel_influences(
    model: keras.Model, samples: Any, *, probes: int = 32, seed: int = 0
) -> tuple[LayerInfluence, ...]:
    """Measure how strongly a model's outputs depend on each channel, invariant to rescaling.

    Weights, their norms and the signal by depth differ between networks that compute the same
    function. The product of an output and its gradient does not, since one grows as the other
    falls. Networks can therefore be compared by this product, layer by layer and channel by
    channel: a converted network with its original, or a network before and after training.

    Args:
        model: Keras model. Nested models are included, and so are layers inside layers and models
            with Python code of their own.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        probes: Integer. The number of samples, counted from the first, that are used. Defaults to
            32.
        seed: Integer. Seed of the random projection, which is the same for all models with outputs
            of the same shape. Defaults to 0.

    Returns:
        A tuple of `LayerInfluence`, one for each call, in execution order.

    Raises:
        DataError: If the samples do not fit the model.
        InvalidArgumentError: If `probes` is less than 1. A `ValueError`.

    Example:

    >>> rescaled = keras_prelu.diagnostics.rescale_channels(model)
    >>> pairs = zip(keras_prelu.diagnostics.channel_influences(model, x_test),
    ...     keras_prelu.diagnostics.channel_influences(rescaled, x_test))
    >>> [abs(one.influence - two.influence).max() for one, two in pairs]

    References:
        Claim 6.
    """
    check_probes(probes)
    data = as_samples(samples, model=model, labels="ignored")
    measure_moments = MomentsProbe(model, data.x)
    inputs = [array[:probes] for array in model_inputs(model, data)]
    moments = measure_moments([array[:1] for array in inputs])
    squares: dict[str, np.ndarray] = {}
    for calls in gradients_by_call(measure_moments, inputs, moments.values(), seed):
        for call in calls:
            data_format = getattr(call.layer, "data_format", "channels_last")
            products = _sum_over_positions(call.outputs * call.gradient, data_format)
            squares[call.path] = squares.get(call.path, 0.0) + np.sum(np.square(products), axis=0)
    return tuple(
        LayerInfluence(path=path, influence=np.sqrt(total / len(inputs[0])))
        for path, total in squares.items()
    )


def _sum_over_positions(tensor: Any, data_format: str) -> np.ndarray:
    """Return sums over positions as an array of shape (samples, channels)."""
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype(np.float64)
    values = np.moveaxis(values, 1 if data_format == "channels_first" else -1, -1)
    return values.reshape(len(values), -1, values.shape[-1]).sum(axis=1)
