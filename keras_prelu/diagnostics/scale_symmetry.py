"""The scale symmetry: networks that differ by moved scales and compute the same, and what they have
in common (claim 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.data.samples import batches, model_inputs
from keras_prelu.diagnostics.signal import MomentsProbe, backward, batch_for_gradients
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.plan import compile_plan
from keras_prelu.scaling.channel_groups import channel_groups

__all__ = [
    "GroupScale",
    "LayerInfluence",
    "channel_influences",
    "channel_scales",
    "rescale_channels",
]


@dataclass(frozen=True)
class GroupScale:
    """Channels that are made together and used together, and whose scale can be moved between the
    layers that do.

    Attributes:
        producers: Paths of the layers that make them.
        consumers: Paths of the layers that use them.
        channels: How many there are.
        balance: For each channel the largest weight that makes it over the largest that uses it,
            which the symmetry leaves open: `equalize` makes them 1.
    """

    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    balance: np.ndarray


def channel_scales(model: keras.Model) -> tuple[GroupScale, ...]:
    """Where the scales of a model's channels are, for each group that can be scaled without
    changing the function.

    Args:
        model: Sequential or Functional, nested models included.

    Returns:
        A record for each group; groups that can't be scaled (through a cap, into the outputs) are
        left out.

    Raises:
        ConversionError: The model has no graph.

    Example:

    >>> [group.balance.max() / group.balance.min()
    ...     for group in keras_prelu.diagnostics.channel_scales(model)]

    References:
        Claim 6.
    """
    found = []
    for group in channel_groups(compile_plan(model)):
        if not group.reason:
            made, used = group.producer_sizes(), group.consumer_sizes()
            balance = np.divide(made, used, out=np.full(made.shape, np.inf), where=used > 0)
            producers, consumers = (
                tuple(step.path for step in steps) for steps in (group.producers, group.consumers)
            )
            found.append(GroupScale(producers, consumers, group.channels, balance))
    return tuple(found)


def rescale_channels(model: keras.Model, *, factor: float = 10.0, seed: int = 0) -> keras.Model:
    """Another network of the same function: each channel's scale moved at random between the layers
    that make it and those that use it.

    Args:
        model: Sequential or Functional, nested models included. It is not changed.
        factor: Channels are multiplied by 1/factor to factor, log-uniformly. Defaults to 10.
        seed: Of the factors.

    Returns:
        A new model with the outputs of the given one, but for rounding.

    Raises:
        ConversionError: The model has no graph.

    Example:

    >>> keras_prelu.diagnostics.rescale_channels(model, seed=1).predict(x)

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
    """How strongly the outputs depend on the channels of one call of a linear layer or rectifier.

    Attributes:
        path: As in `signal`.
        influence: For each channel the root of the mean square, over samples, of the derivative of
            a random projection of the model's outputs (normal, of variance 1) by the logarithm of
            the channel's scale: the sum over positions of output times gradient.
    """

    path: str
    influence: np.ndarray


def channel_influences(
    model: keras.Model, samples: Any, *, probes: int = 32, seed: int = 0
) -> tuple[LayerInfluence, ...]:
    """How strongly a model's outputs depend on each channel, in a measure that moved scales leave
    as it is.

    Weights, norms of weights and the signal by depth differ between networks that compute the same;
    an output times its gradient does not, since one grows as the other falls. So two networks can
    be compared by it, layer by layer and channel by channel: the original with the converted one,
    or before with after a training.

    Args:
        model: Sequential or Functional, nested models included, and layers inside layers with
            Python code of their own.
        samples: Unlabeled samples: an array, or a list or dict of arrays for several inputs.
        probes: How many of them are measured. Defaults to 32.
        seed: Of the random projection, which is the same for models with outputs of the same shape.

    Returns:
        A record for each call, in execution order.

    Raises:
        ConversionError: The model has no graph.
        DataError: The samples do not fit the model.
        InvalidArgumentError: A ValueError; `probes` is less than 1.

    Example:

    >>> pairs = zip(keras_prelu.diagnostics.channel_influences(model, x),
    ...     keras_prelu.diagnostics.channel_influences(other, x))
    >>> [abs(one.influence / two.influence - 1).max() for one, two in pairs]

    References:
        Claim 6.
    """
    if probes < 1:
        raise InvalidArgumentError(f"`probes` must be at least 1. Received: probes={probes}")
    inputs, probe = [array[:probes] for array in model_inputs(model, samples)], MomentsProbe(model)
    at_once = batch_for_gradients(model, probe([array[:1] for array in inputs]))
    squares: dict[str, np.ndarray] = {}
    for number, batch in enumerate(batches(inputs, at_once)):
        for call in backward(probe.plan, batch, [seed, number]):
            products = _by_channel(
                call.written * call.gradient, getattr(call.layer, "data_format", "channels_last")
            )
            squares[call.path] = squares.get(call.path, 0.0) + np.sum(np.square(products), axis=0)
    return tuple(
        LayerInfluence(path, np.sqrt(total / len(inputs[0]))) for path, total in squares.items()
    )


def _by_channel(tensor: Any, data_format: str) -> np.ndarray:
    """Sums over positions, of shape (samples, channels)."""
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype(np.float64)
    values = np.moveaxis(values, 1 if data_format == "channels_first" else -1, -1)
    return values.reshape(len(values), -1, values.shape[-1]).sum(axis=1)
