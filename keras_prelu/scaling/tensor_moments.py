"""The moments of tensors, and how operations change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_prelu import theory
from keras_prelu.graph.arrays import to_float64
from keras_prelu.graph.batch_norm import channel_axis
from keras_prelu.graph.layer_kinds import built_input_shape
from keras_prelu.graph.plan import Step
from keras_prelu.layers import PReLU
from keras_prelu.typing import Array

__all__ = [
    "ARRANGING",
    "IDENTITY",
    "Moments",
    "as_sample",
    "mapped_moments",
    "mean_slopes",
    "restoring_factor",
]


_OPEN_SIZE = 8
"""The size used for an unknown height or width, since results are averaged over positions."""

_ONE_SIDED = 3.0
"""A channel whose mean is this many standard deviations from 0 counts as being on one side of it.

Whether and how far such a channel crosses 0 is a matter of its distribution's tails, of which two
moments say nothing.
"""
_SMALLEST_FACTOR = 1e-3
"""The smallest factor of a channel, and the inverse of the largest one."""

# Names of the classes of Keras that select, arrange or average the elements of a tensor. Applied to
# the variances of the elements, they return those of the outputs, for averages approximately.
ARRANGING = frozenset(
    {
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "Concatenate",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Flatten",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
        "Permute",
        "Reshape",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    }
)
# Names of the classes of Keras that compute the identity at inference.
IDENTITY = frozenset(
    {
        "Activation",
        "ActivityRegularization",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout2D",
    }
)


@dataclass(frozen=True)
class Moments:
    """The known moments of a tensor, as arrays with the shape of one sample.

    Attributes:
        original: Array. The mean in the original model.
        converted: Array. The mean in the converted model.
        variance: Array or None. The variance in the original model; None if it is not known.
    """

    original: Array
    converted: Array
    variance: Array | None

    @property
    def shift(self) -> Array:
        """The shift of the mean by the conversion."""
        return self.converted - self.original


def mapped_moments(step: Step, read: Sequence[Moments], with_variance: bool) -> list[Moments]:
    """Apply a step to the means of its inputs and, if asked to, to their variances.

    The result is exact for a linear operation and approximate for a maximum.

    Args:
        step: `Step`.
        read: Sequence of `Moments`, one for each input of the step.
        with_variance: Boolean. Whether the step maps variances as it maps means.

    Returns:
        A list of `Moments`, one for each output of the step.
    """
    original = _execute(step, [moments.original for moments in read])
    converted = _execute(step, [moments.converted for moments in read])
    variances = [moments.variance for moments in read if moments.variance is not None]
    mapped: Sequence[Array | None] = [None] * len(original)
    if with_variance and len(variances) == len(read):
        mapped = _execute(step, variances)
    return [
        Moments(original=a, converted=b, variance=c)
        for a, b, c in zip(original, converted, mapped, strict=True)
    ]


def _execute(step: Step, arrays: Sequence[Array]) -> list[Array]:
    values = {
        slot: keras.ops.convert_to_tensor(array.astype("float32"))
        for slot, array in zip(step.inputs, arrays, strict=True)
    }
    return [to_float64(output) for output in step.execute(values)]


def restoring_factor(alpha: Array, mu: Array, sigma: Array) -> Array:
    """Return the factors of claim 7 within limits, and 1 for channels on one side of 0.

    The latter may be constant, such as dead channels whose variance or γ is 0: covariance and
    variance are then both 0. On the positive side, φ changes nothing. On the negative side the
    factor would be next to 0, which readers can't undo where the channel is positive after all. The
    offset alone restores their mean.
    """
    is_one_sided = np.abs(mu) > _ONE_SIDED * sigma
    factor = theory.restoring_factor(alpha, np.where(is_one_sided, 0.0, mu), sigma)
    limited: Array = np.clip(factor, _SMALLEST_FACTOR, 1.0 / _SMALLEST_FACTOR)
    return np.where(is_one_sided, 1.0, limited)


def mean_slopes(layer: PReLU, channels: int) -> Array:
    """Return the mean slope of each channel over its positions."""
    slopes = to_float64(layer.alpha)
    by_channel = np.broadcast_to(slopes, (*slopes.shape[:-1], channels))
    return by_channel.reshape(-1, channels).mean(axis=0)


def as_sample(layer: Any, values: Array) -> Array:
    """Broadcast values, one for each channel, to one sample that a BatchNormalization reads."""
    shape = [1, *(size or _OPEN_SIZE for size in (built_input_shape(layer) or ())[1:])]
    along_axis = [1] * len(shape)
    along_axis[channel_axis(layer) or 0] = values.size
    return np.broadcast_to(values.reshape(along_axis), shape)
